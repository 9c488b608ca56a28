#include "vcpu_debug.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "../pvm/engine_api.h"
#include "vcpu.h"
#include "vcpu_group.h"

#define VECTOR_BREAKPOINT 3u
#define DR6_HITS 0xfull
#define DR6_STEP (1ull << 14)
/* The bits that an exception sets, of those that are not always set or reserved. */
#define DR6_CAUSES (DR6_HITS | 0xe000ull)

/* What KVM is to do, for hosts with VT-x or AMD-V. */
static struct kvm_guest_debug kvm_settings(const struct vcpu *vcpu)
{
    const struct vcpu_debug *debug = &vcpu->group->debug;
    struct kvm_guest_debug settings = {0};

    if (debug->breakpoint_count > 0)
        settings.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
    if (debug->dr7 != 0)
        settings.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
    if (vcpu->debug_steps)
        settings.control |=
            KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | vcpu->group->debug_step_flags;
    for (unsigned i = 0; i < VCPU_DEBUG_REGISTERS; i++)
        settings.arch.debugreg[i] = debug->registers[i];
    settings.arch.debugreg[7] = debug->dr7;
    return settings;
}

static int apply(struct vcpu *vcpu)
{
    if (vcpu->cpu) {
        engine_set_debug(vcpu->cpu, &vcpu->group->debug, vcpu->debug_steps);
        return 0;
    }
    struct kvm_guest_debug settings = kvm_settings(vcpu);
    return ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &settings) < 0 ? -errno : 0;
}

/* Under the lock. */
static bool all_parked(const struct vcpu_group *group)
{
    bool parked = group->order != VCPU_ORDER_RUN;

    for (unsigned i = 0; i < group->count; i++)
        parked = parked && vcpu_is_parked(&group->vcpus[i]);
    return parked;
}

int vcpu_debug_set(struct vcpu_group *group, const struct vcpu_debug *debug)
{
    int error = 0;

    if (group->emulator)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&group->lock);
    if (!all_parked(group)) {
        pthread_mutex_unlock(&group->lock);
        return -EBUSY;
    }
    /* Interrupts during a single step would lead away from what is stepped through. */
    int flags = ioctl(group->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2);
    group->debug_step_flags = flags > 0 ? (uint32_t)flags & KVM_GUESTDBG_BLOCKIRQ : 0;
    group->debug = *debug;
    for (unsigned i = 0; i < group->count && error == 0; i++)
        error = apply(&group->vcpus[i]);
    pthread_mutex_unlock(&group->lock);
    return error;
}

static void hold(struct vcpu_group *group)
{
    group->held = true;
    vcpu_group_apply(group);
}

void vcpu_debug_hold(struct vcpu_group *group)
{
    pthread_mutex_lock(&group->lock);
    hold(group);
    pthread_mutex_unlock(&group->lock);
}

int vcpu_debug_release(struct vcpu_group *group, uint32_t running, uint32_t stepping)
{
    int error = 0;

    if (group->emulator)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&group->lock);
    if (!all_parked(group))
        error = -EBUSY;
    for (unsigned i = 0; i < group->count && error == 0; i++) {
        struct vcpu *vcpu = &group->vcpus[i];
        vcpu->held = !(running >> i & 1);
        vcpu->debug_steps = stepping >> i & 1;
        error = apply(vcpu);
    }
    if (error == 0) {
        group->held = false;
        vcpu_group_apply(group);
    }
    pthread_mutex_unlock(&group->lock);
    return error;
}

void vcpu_debug_stop(struct vcpu *vcpu, uint32_t causes)
{
    struct vcpu_group *group = vcpu->group;

    pthread_mutex_lock(&group->lock);
    vcpu->slot->kind = TSVM_EXIT_DEBUG;
    vcpu->slot->data_low = causes;
    __atomic_store_n(&vcpu->slot->state, TSVM_EXIT_PENDING, __ATOMIC_RELEASE);
    hold(group);
    wake_notify(&group->wake);
    pthread_mutex_unlock(&group->lock);
}

/* The guest gets the exception that KVM has taken for the debugger. */
static int give_back(struct vcpu *vcpu, const struct kvm_debug_exit_arch *exit)
{
    struct kvm_guest_debug settings = kvm_settings(vcpu);

    settings.control |= KVM_GUESTDBG_ENABLE;
    if (exit->exception == VECTOR_BREAKPOINT) {
        settings.control |= KVM_GUESTDBG_INJECT_BP;
    } else {
        struct kvm_debugregs registers;
        if (ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &registers) < 0)
            return -errno;
        registers.dr6 |= exit->dr6 & DR6_CAUSES;
        if (ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &registers) < 0)
            return -errno;
        settings.control |= KVM_GUESTDBG_INJECT_DB;
    }
    return ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &settings) < 0 ? -errno : 0;
}

int vcpu_debug_exit(struct vcpu *vcpu)
{
    const struct kvm_debug_exit_arch *exit = &vcpu->run->debug.arch;
    const struct vcpu_debug *debug = &vcpu->group->debug;
    uint32_t causes = 0;

    if (exit->exception == VECTOR_BREAKPOINT) {
        causes = vcpu_debug_has_breakpoint(debug, exit->pc) ? TSVM_DEBUG_BREAKPOINT : 0;
    } else {
        if (debug->dr7 != 0)
            causes = exit->dr6 & DR6_HITS;
        if (vcpu->debug_steps && (causes == 0 || exit->dr6 & DR6_STEP))
            causes |= TSVM_DEBUG_STEP;
    }
    if (causes == 0)
        return give_back(vcpu, exit);
    vcpu_debug_stop(vcpu, causes);
    return 0;
}
