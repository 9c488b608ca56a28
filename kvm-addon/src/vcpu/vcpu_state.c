#include "vcpu_state.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../kvm/cpuid.h"
#include "../pvm/cpuid.h"
#include "../pvm/state.h"

#define STATE_KIND(name, which, type)                                                              \
    {                                                                                              \
        name, "KVM_GET_" #which, "KVM_SET_" #which, KVM_GET_##which, KVM_SET_##which, sizeof(type) \
    }

static const struct vcpu_state_kind state_kinds[] = {
    STATE_KIND("regs", REGS, struct kvm_regs),
    STATE_KIND("sregs", SREGS, struct kvm_sregs),
    STATE_KIND("xsave", XSAVE, struct kvm_xsave),
    STATE_KIND("xcrs", XCRS, struct kvm_xcrs),
    STATE_KIND("lapic", LAPIC, struct kvm_lapic_state),
    STATE_KIND("events", VCPU_EVENTS, struct kvm_vcpu_events),
    STATE_KIND("mp-state", MP_STATE, struct kvm_mp_state),
    STATE_KIND("debugregs", DEBUGREGS, struct kvm_debugregs),
};

const struct vcpu_state_kind *vcpu_state_find(const char *name)
{
    for (size_t i = 0; i < sizeof state_kinds / sizeof *state_kinds; i++) {
        if (strcmp(state_kinds[i].name, name) == 0)
            return &state_kinds[i];
    }
    return NULL;
}

int vcpu_get_state(struct vcpu *vcpu, const struct vcpu_state_kind *kind, void *state)
{
    if (vcpu->cpu)
        return vcpu_is_at_rest(vcpu) ? state_get(vcpu->cpu, kind->get, state) : -EBUSY;
    return ioctl(vcpu->fd, kind->get, state) < 0 ? -errno : 0;
}

int vcpu_set_state(struct vcpu *vcpu, const struct vcpu_state_kind *kind, const void *state)
{
    if (vcpu->cpu)
        return vcpu_is_at_rest(vcpu) ? state_set(vcpu->cpu, kind->set, state) : -EBUSY;
    return ioctl(vcpu->fd, kind->set, state) < 0 ? -errno : 0;
}

/* struct kvm_msrs with a full-size array at its end. */
struct msr_list {
    struct kvm_msrs header;
    struct kvm_msr_entry entries[MSRS_MAX];
};

int vcpu_supported_cpuid(const struct vcpu *vcpu, struct kvm_cpuid_entry2 *entries)
{
    if (vcpu->cpu)
        return cpuid_supported(vcpu->cpu, entries);
    return kvm_get_supported_cpuid(vcpu->group->vm->kvm_fd, entries);
}

int vcpu_set_cpuid(struct vcpu *vcpu, const struct kvm_cpuid_entry2 *entries, size_t count)
{
    if (count > CPUID_ENTRIES_MAX)
        return -E2BIG;
    if (vcpu->cpu)
        return cpuid_set(vcpu->cpu, entries, (unsigned)count);
    return kvm_set_cpuid(vcpu->fd, entries, count);
}

/* KVM stops at the first unsupported MSR and returns the number of MSRs processed. */
static int msrs_result(int done, size_t count)
{
    if (done < 0)
        return -errno;
    return (size_t)done == count ? 0 : -EINVAL;
}

static int engine_msrs(struct vcpu *vcpu, const uint32_t *indices, uint64_t *values, size_t count,
                       bool set)
{
    if (!vcpu_is_at_rest(vcpu))
        return -EBUSY;
    int error = 0;
    for (size_t i = 0; error == 0 && i < count; i++)
        error = set ? state_set_msr(vcpu->cpu, indices[i], values[i])
                    : state_get_msr(vcpu->cpu, indices[i], &values[i]);
    return error;
}

int vcpu_get_msrs(struct vcpu *vcpu, const uint32_t *indices, uint64_t *values, size_t count)
{
    if (count > MSRS_MAX)
        return -E2BIG;
    if (vcpu->cpu)
        return engine_msrs(vcpu, indices, values, count, false);
    struct msr_list list = {.header.nmsrs = (uint32_t)count};
    for (size_t i = 0; i < count; i++)
        list.entries[i].index = indices[i];
    int error = msrs_result(ioctl(vcpu->fd, KVM_GET_MSRS, &list), count);
    for (size_t i = 0; error == 0 && i < count; i++)
        values[i] = list.entries[i].data;
    return error;
}

int vcpu_set_msrs(struct vcpu *vcpu, const uint32_t *indices, const uint64_t *values, size_t count)
{
    if (count > MSRS_MAX)
        return -E2BIG;
    if (vcpu->cpu)
        return engine_msrs(vcpu, indices, (uint64_t *)values, count, true);
    struct msr_list list = {.header.nmsrs = (uint32_t)count};
    for (size_t i = 0; i < count; i++)
        list.entries[i] = (struct kvm_msr_entry){.index = indices[i], .data = values[i]};
    return msrs_result(ioctl(vcpu->fd, KVM_SET_MSRS, &list), count);
}
