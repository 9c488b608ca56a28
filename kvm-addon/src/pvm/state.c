#include "state.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch.h"
#include "breakpoints.h"
#include "cpu_mode.h"
#include "fpu.h"
#include "interrupts.h"
#include "kvm_run.h"
#include "loop.h"
#include "msrs.h"
#include "private_region.h"
#include "tlb.h"

/* RFLAGS that KVM's SYSCALL clears, so that no event can occur on the way to the shim. */
#define SHIM_SFMASK (RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC)

/* MSRs that msrs.c keeps. FS and GS bases are in KVM's segments too. */
static const uint32_t kept_msrs[] = {
    MSR_STAR,    MSR_LSTAR,       MSR_CSTAR,        MSR_SFMASK,       MSR_KERNEL_GS_BASE,
    MSR_TSC_AUX, MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};
#define KEPT_MSRS (sizeof kept_msrs / sizeof *kept_msrs)

bool state_is_ours(const struct kvm_sregs *sregs)
{
    return sregs->efer & EFER_LMA && sregs->cr0 & CR0_PG && sregs->cs.l;
}

static int call(const struct cpu *cpu, unsigned long request, const void *argument)
{
    return ioctl(cpu->fd, request, argument) < 0 ? -errno : 0;
}

static void take_sregs(struct cpu *cpu, const struct kvm_sregs *sregs)
{
    struct kvm_sregs *shared = kvm_run_sregs(cpu);

    cpu->sregs = *sregs;
    shared->apic_base = sregs->apic_base;
    shared->cr8 = sregs->cr8;
    cpu->segment_base[BASE_FS] = sregs->fs.base;
    cpu->segment_base[BASE_GS] = sregs->gs.base;
    cpu->compat = !sregs->cs.l;
    cpu_set_cpl(cpu, sregs->ss.dpl);
    tlb_flush_all(cpu);
}

static void take_events(struct cpu *cpu, const struct kvm_vcpu_events *events)
{
    cpu->interrupt_shadow = events->interrupt.shadow != 0;
    cpu->nmi_blocked = events->nmi.masked;
}

int state_adopt(struct cpu *cpu)
{
    struct kvm_sync_regs *shared = &cpu->run->s.regs;
    struct kvm_mp_state mp;

    int error = call(cpu, KVM_GET_REGS, &shared->regs);
    if (error == 0)
        error = call(cpu, KVM_GET_SREGS, &shared->sregs);
    if (error == 0)
        error = call(cpu, KVM_GET_VCPU_EVENTS, &shared->events);
    if (error == 0)
        error = call(cpu, KVM_GET_DEBUGREGS, &cpu->debug);
    if (error == 0)
        error = call(cpu, KVM_GET_MP_STATE, &mp);
    for (unsigned i = 0; i < KEPT_MSRS && error == 0; i++)
        error = msrs_kvm_get(cpu, kept_msrs[i], msrs_kept(cpu, kept_msrs[i])) ? 0 : -EIO;
    if (error < 0)
        return error;
    take_sregs(cpu, &shared->sregs);
    breakpoints_changed(cpu);
    cpu->sregs.efer |= cpu->loop->legacy_efer;
    cpu->loop->legacy_efer = 0;
    take_events(cpu, &shared->events);
    kvm_run_get_registers(cpu);
    fpu_forget(cpu);
    cpu->loop->halted = mp.mp_state == KVM_MP_STATE_HALTED;
    cpu->loop->installed = false;
    cpu->in_kvm = false;
    return 0;
}

/* If KVM refuses bits of CR4 that only the interpreter supports, they are lost. */
int state_hand_over(struct cpu *cpu)
{
    struct kvm_sync_regs *shared = &cpu->run->s.regs;

    kvm_run_put_registers(cpu);
    kvm_run_put_sregs(cpu);
    shared->sregs.efer = cpu->sregs.efer;
    kvm_run_put_events(cpu);
    fpu_release(cpu);
    cpu->run->kvm_dirty_regs = 0;
    int error = call(cpu, KVM_SET_REGS, &shared->regs);
    if (error == 0)
        error = call(cpu, KVM_SET_SREGS, &shared->sregs);
    if (error == 0)
        error = call(cpu, KVM_SET_VCPU_EVENTS, &shared->events);
    if (error == 0)
        error = call(cpu, KVM_SET_DEBUGREGS, &cpu->debug);
    for (unsigned i = 0; i < KEPT_MSRS && error == 0; i++)
        error = msrs_kvm_set(cpu, kept_msrs[i], *msrs_kept(cpu, kept_msrs[i])) ? 0 : -EIO;
    cpu->loop->installed = false;
    cpu->in_kvm = error == 0;
    return error;
}

void state_install(struct cpu *cpu)
{
    if (cpu->loop->installed)
        return;
    /* The engine overwrites the selectors that kvm-pvm's SYSCALL loads. */
    msrs_kvm_set(cpu, MSR_STAR, (uint64_t)PRIVATE_CODE_SELECTOR << 32 | 0x23ull << 48);
    msrs_kvm_set(cpu, MSR_LSTAR, PRIVATE_SHIM_VA);
    msrs_kvm_set(cpu, MSR_SFMASK, SHIM_SFMASK);
    cpu->loop->installed = true;
}

static void get_sregs(const struct cpu *cpu, struct kvm_sregs *sregs)
{
    *sregs = cpu->sregs;
    sregs->apic_base = kvm_run_sregs(cpu)->apic_base;
    sregs->cr8 = kvm_run_sregs(cpu)->cr8;
    sregs->fs.base = cpu->segment_base[BASE_FS];
    sregs->gs.base = cpu->segment_base[BASE_GS];
    memset(sregs->interrupt_bitmap, 0, sizeof sregs->interrupt_bitmap);
}

static void get_events(const struct cpu *cpu, struct kvm_vcpu_events *events)
{
    *events = (struct kvm_vcpu_events){
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
        .interrupt.shadow = cpu->interrupt_shadow ? KVM_X86_SHADOW_INT_STI : 0,
        .nmi.masked = cpu->nmi_blocked,
        .nmi.pending = cpu->loop->nmi_arrived,
    };
}

int state_get(struct cpu *cpu, unsigned long request, void *state)
{
    if (request == KVM_GET_XSAVE)
        fpu_release(cpu);
    if (cpu->in_kvm)
        return call(cpu, request, state);
    switch (request) {
    case KVM_GET_REGS:
        kvm_run_put_registers(cpu);
        *(struct kvm_regs *)state = *kvm_run_regs(cpu);
        return 0;
    case KVM_GET_SREGS:
        get_sregs(cpu, state);
        return 0;
    case KVM_GET_VCPU_EVENTS:
        get_events(cpu, state);
        return 0;
    case KVM_GET_DEBUGREGS:
        *(struct kvm_debugregs *)state = cpu->debug;
        return 0;
    case KVM_GET_MP_STATE:
        ((struct kvm_mp_state *)state)->mp_state =
            cpu->loop->halted ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE;
        return 0;
    default:
        return call(cpu, request, state);
    }
}

static int set_sregs(struct cpu *cpu, const struct kvm_sregs *sregs)
{
    int error = 0;

    if (state_is_ours(sregs)) {
        if (cpu->in_kvm)
            error = state_adopt(cpu);
        if (error == 0)
            error = msrs_kvm_set(cpu, MSR_APIC_BASE, sregs->apic_base) ? 0 : -EINVAL;
        if (error == 0)
            take_sregs(cpu, sregs);
        return error;
    }
    if (!cpu->in_kvm)
        error = state_hand_over(cpu);
    return error == 0 ? call(cpu, KVM_SET_SREGS, sregs) : error;
}

static int set_mp_state(struct cpu *cpu, const struct kvm_mp_state *mp)
{
    bool runs = mp->mp_state == KVM_MP_STATE_RUNNABLE || mp->mp_state == KVM_MP_STATE_HALTED;
    int error = 0;

    if (!cpu->in_kvm && runs) {
        cpu->loop->halted = mp->mp_state == KVM_MP_STATE_HALTED;
        return call(cpu, KVM_SET_MP_STATE, &(struct kvm_mp_state){KVM_MP_STATE_RUNNABLE});
    }
    if (!cpu->in_kvm)
        error = state_hand_over(cpu);
    return error == 0 ? call(cpu, KVM_SET_MP_STATE, mp) : error;
}

static int set_fpu(struct cpu *cpu, unsigned long request, const void *state)
{
    fpu_release(cpu);
    int error = call(cpu, request, state);
    fpu_forget(cpu);
    return error;
}

static int set_lapic(struct cpu *cpu, const struct kvm_lapic_state *lapic)
{
    int error = call(cpu, KVM_SET_LAPIC, lapic);
    if (error == 0)
        interrupts_restored(cpu, lapic);
    return error;
}

int state_set(struct cpu *cpu, unsigned long request, const void *state)
{
    switch (request) {
    case KVM_SET_SREGS:
        return set_sregs(cpu, state);
    case KVM_SET_MP_STATE:
        return set_mp_state(cpu, state);
    case KVM_SET_LAPIC:
        return set_lapic(cpu, state);
    case KVM_SET_XSAVE:
    case KVM_SET_XCRS:
        return set_fpu(cpu, request, state);
    default:
        break;
    }
    if (cpu->in_kvm)
        return call(cpu, request, state);
    switch (request) {
    case KVM_SET_REGS:
        *kvm_run_regs(cpu) = *(const struct kvm_regs *)state;
        kvm_run_get_registers(cpu);
        return 0;
    case KVM_SET_VCPU_EVENTS:
        take_events(cpu, state);
        cpu->loop->nmi_arrived = ((const struct kvm_vcpu_events *)state)->nmi.pending;
        return 0;
    case KVM_SET_DEBUGREGS:
        cpu->debug = *(const struct kvm_debugregs *)state;
        breakpoints_changed(cpu);
        return 0;
    default:
        return call(cpu, request, state);
    }
}

int state_get_msr(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    const uint64_t *here = cpu->in_kvm ? NULL : msrs_kept(cpu, number);

    if (here || (number == MSR_EFER && !cpu->in_kvm)) {
        *value = here ? *here : cpu->sregs.efer;
        return 0;
    }
    return msrs_kvm_get(cpu, number, value) ? 0 : -EINVAL;
}

int state_set_msr(struct cpu *cpu, uint32_t number, uint64_t value)
{
    uint64_t *here = cpu->in_kvm ? NULL : msrs_kept(cpu, number);

    if (number == MSR_EFER && !cpu->in_kvm) {
        cpu->sregs.efer = value;
        return 0;
    }
    if (here)
        *here = value;
    if (here && number != MSR_TSC_AUX)
        return 0;
    if (!msrs_kvm_set(cpu, number, value))
        return -EINVAL;
    if (number == MSR_TSC_DEADLINE)
        interrupts_deadline_written(cpu, value);
    if (msrs_is_clock(number))
        cpu->loop->clock_set = true;
    return 0;
}
