#include "step.h"

#include <string.h>

#include "../vcpu/vcpu.h"
#include "arch.h"
#include "counters.h"
#include "cpuid.h"
#include "devices.h"
#include "engine.h"
#include "fpu.h"
#include "kvm_run.h"
#include "loop.h"
#include "msrs.h"
#include "routines.h"
#include "safepoint.h"
#include "state.h"
#include "system.h"
#include "tables.h"
#include "walk.h"

/* Index of the counters of two-byte opcodes. */
#define MAP_0F 256u
#define OPCODE_TWO_BYTES 0x0f

static bool is_prefix(uint8_t byte, bool is_64_bit)
{
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
        return true;
    default:
        return is_64_bit && (byte & 0xf0) == 0x40;
    }
}

/* Counts the instruction by its opcode, as far as its bytes lie in one page. */
static void count(struct cpu *cpu)
{
    struct walk_request request = {
        .va = cpu->rip, .access = WALK_EXECUTE, .user = cpu->cpl == 3, .probe = true};
    struct walk_result result = walk(cpu, &request);
    uint64_t room = PAGE_SIZE - (cpu->rip & PAGE_OFFSET);
    const uint8_t *bytes =
        result.fault ? NULL : guest_memory_readable_at(cpu->engine->memory, result.gpa, room);
    uint64_t i = 0;

    cpu->counters->steps++;
    while (bytes && i < room && is_prefix(bytes[i], !cpu->compat))
        i++;
    if (bytes && i < room && bytes[i] != OPCODE_TWO_BYTES)
        cpu->counters->steps_by_opcode[bytes[i]]++;
    else if (bytes && i + 1 < room)
        cpu->counters->steps_by_opcode[MAP_0F + bytes[i + 1]]++;
}

static void get_state(struct cpu *cpu)
{
    kvm_run_get_sregs(cpu);
    kvm_run_get_registers(cpu);
    cpu->interrupt_shadow = cpu->run->s.regs.events.interrupt.shadow;
    cpu->nmi_blocked = cpu->run->s.regs.events.nmi.masked;
}

/* Runs to the end of the instruction, through its device accesses. */
static enum kvm_entered enter(struct cpu *cpu, bool *stopped)
{
    enum kvm_enter how = KVM_ENTER_GUEST;

    for (;;) {
        enum kvm_entered entered = kvm_run_enter(cpu, how);
        uint32_t reason = cpu->run->exit_reason;
        if (entered != KVM_ENTERED || (reason != KVM_EXIT_IO && reason != KVM_EXIT_MMIO))
            return entered;
        *stopped = !vcpu_serve_device(cpu->vcpu);
        bool asked = __atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST) & ATTENTION_ORDER;
        if (*stopped || asked)
            how = KVM_ENTER_COMPLETE;
    }
}

/* Neither the interpreter nor KVM supports the instruction at `rip`: #UD. */
static enum progress undefined(struct cpu *cpu, uint64_t rip)
{
    /* An interrupt came first, and KVM could not execute its handler's first instruction. */
    if (cpu->rip != rip)
        return PROGRESS;
    return progress_deliver(cpu, &(struct cpu_exception){.vector = VECTOR_UD});
}

/* KVM hides the TF that it sets for stepping, and with it the guest's. */
static enum progress single_step(struct cpu *cpu)
{
    cpu->rflags |= RFLAGS_TF;
    return progress_deliver(cpu, &(struct cpu_exception){.vector = VECTOR_DB, .address = DR6_BS});
}

static enum kvm_entered step(struct cpu *cpu, bool *stopped)
{
    kvm_run_set_stepping(cpu, true);
    kvm_run_put_registers(cpu);
    kvm_run_put_sregs(cpu);
    kvm_run_put_events(cpu);
    return enter(cpu, stopped);
}

/* KVM steps 64-bit programs natively, here on the guest's own page tables. */
static enum kvm_entered step_natively(struct cpu *cpu, bool *stopped)
{
    tables_enter_untracked(cpu);
    enum kvm_entered entered = routine_zap(cpu);
    if (entered == KVM_ENTERED)
        entered = step(cpu, stopped);
    tables_exit_untracked(cpu);
    return entered;
}

enum progress step_run(struct cpu *cpu)
{
    uint64_t rip = cpu->rip;
    bool trap = cpu->rflags & RFLAGS_TF;
    bool stopped = false;
    bool is_native = cpu->cpl == 3 && !cpu->compat;

    count(cpu);
    fpu_release(cpu);
    safepoint_exit(cpu);
    enum kvm_entered entered = is_native ? step_natively(cpu, &stopped) : step(cpu, &stopped);
    safepoint_enter(cpu);
    if (entered == KVM_REFUSED)
        return PROGRESS_FAILED;
    if (entered == KVM_RESET)
        return PROGRESS;
    get_state(cpu);
    if (stopped)
        return PROGRESS_STOPPED;
    if (entered == KVM_INTERRUPTED)
        return PROGRESS;
    switch (cpu->run->exit_reason) {
    case KVM_EXIT_DEBUG:
        return trap ? single_step(cpu) : PROGRESS;
    case KVM_EXIT_INTERNAL_ERROR:
        return undefined(cpu, rip);
    case KVM_EXIT_SHUTDOWN:
        return PROGRESS_SHUTDOWN;
    default:
        kvm_run_fail(cpu, "KVM exit reason %u at 0x%llx", cpu->run->exit_reason,
                     (unsigned long long)cpu->rip);
        return PROGRESS_FAILED;
    }
}

/*
 * WRMSR with bits that KVM does not know: those of EFER that we offer are kept for state_adopt().
 */
static void write_msr(struct cpu *cpu)
{
    struct kvm_run *run = cpu->run;
    uint64_t known = EFER_SCE | EFER_LME | EFER_NXE;

    run->msr.error = 1;
    if (run->msr.index != MSR_EFER || run->msr.data & ~(cpu->cpuid->efer_allowed | EFER_LMA))
        return;
    run->msr.error = !msrs_kvm_set(cpu, MSR_EFER, run->msr.data & known);
    if (!run->msr.error)
        cpu->loop->legacy_efer = run->msr.data & ~(known | EFER_LMA);
}

enum progress step_legacy(struct cpu *cpu)
{
    bool stopped = false;

    if (state_is_ours(kvm_run_sregs(cpu))) {
        int error = state_adopt(cpu);
        if (error < 0)
            kvm_run_fail(cpu, "reading its state from KVM: %s", strerrordesc_np(-error));
        return error < 0 ? PROGRESS_FAILED : PROGRESS;
    }
    kvm_run_set_stepping(cpu, true);
    cpu->counters->legacy_steps++;
    safepoint_exit(cpu);
    enum kvm_entered entered = enter(cpu, &stopped);
    safepoint_enter(cpu);
    if (entered == KVM_REFUSED)
        return PROGRESS_FAILED;
    if (stopped)
        return PROGRESS_STOPPED;
    if (entered != KVM_ENTERED)
        return PROGRESS;
    switch (cpu->run->exit_reason) {
    case KVM_EXIT_DEBUG:
        return PROGRESS;
    case KVM_EXIT_X86_WRMSR:
        write_msr(cpu);
        return PROGRESS;
    case KVM_EXIT_X86_RDMSR:
        cpu->run->msr.error = 1;
        return PROGRESS;
    case KVM_EXIT_SHUTDOWN:
        return PROGRESS_SHUTDOWN;
    default:
        kvm_run_fail(cpu,
                     "KVM exit reason %u (detail %u) at 0x%llx, before the guest is in long mode",
                     cpu->run->exit_reason, cpu->run->internal.suberror,
                     (unsigned long long)kvm_run_regs(cpu)->rip);
        return PROGRESS_FAILED;
    }
}
