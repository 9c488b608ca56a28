#include "native.h"

#include "../vcpu/vcpu.h"
#include "arch.h"
#include "counters.h"
#include "descriptor.h"
#include "engine.h"
#include "fpu.h"
#include "interrupts.h"
#include "loop.h"
#include "moderation.h"
#include "msrs.h"
#include "routines.h"
#include "safepoint.h"
#include "state.h"
#include "step.h"
#include "system.h"
#include "tables.h"
#include "walk.h"

/* RFLAGS that a program can change natively. kvm-pvm does not preserve IOPL and IF. */
#define RFLAGS_OF_USER                                                                             \
    (RFLAGS_STATUS | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | 1u << 21)

static void put_state(struct cpu *cpu, uint64_t root)
{
    kvm_run_put_registers(cpu);
    kvm_run_put_sregs(cpu);
    kvm_run_set_private_tables(kvm_run_sregs(cpu), cpu->index);
    kvm_run_put_events(cpu);
    kvm_run_sregs(cpu)->cr3 = root;
}

static void set_rflags(struct cpu *cpu, uint64_t rflags)
{
    uint64_t kept = cpu_rflags(cpu) & (RFLAGS_IF | RFLAGS_IOPL);
    cpu_set_rflags(cpu, (rflags & RFLAGS_OF_USER) | kept);
}

/* Segments that a program can load. At a stub CS is the engine's. */
static void get_data_segments(struct cpu *cpu)
{
    const struct kvm_sregs *sregs = kvm_run_sregs(cpu);

    cpu->sregs.ds = sregs->ds;
    cpu->sregs.es = sregs->es;
    cpu->sregs.fs = sregs->fs;
    cpu->sregs.gs = sregs->gs;
    cpu->segment_base[BASE_FS] = sregs->fs.base;
    cpu->segment_base[BASE_GS] = sregs->gs.base;
}

/* The state of a program that KVM stopped at CPL 3. */
static void get_state(struct cpu *cpu)
{
    const struct kvm_sregs *sregs = kvm_run_sregs(cpu);

    kvm_run_get_general(cpu);
    cpu->rip = kvm_run_regs(cpu)->rip;
    set_rflags(cpu, kvm_run_regs(cpu)->rflags);
    get_data_segments(cpu);
    if (sregs->cs.selector != cpu->sregs.cs.selector) {
        cpu->sregs.cs = sregs->cs;
        cpu->compat = !sregs->cs.l;
    }
}

/* The state of a program at a stub: from the frame on the stack, and the unchanged registers. */
static void get_state_at_stub(struct cpu *cpu, const struct arrivals *arrivals)
{
    kvm_run_get_general(cpu);
    cpu->rip = arrivals->rip;
    cpu->r[REG_RSP] = arrivals->rsp;
    set_rflags(cpu, arrivals->rflags);
    get_data_segments(cpu);
    if (arrivals->cs != cpu->sregs.cs.selector)
        segment_reload_code(cpu, arrivals->cs);
}

/* SYSCALL: KVM took it to the shim at CPL 3, RCX and R11 are as they should be. */
static enum progress system_call(struct cpu *cpu)
{
    kvm_run_get_general(cpu);
    get_data_segments(cpu);
    /* A program can jump to the shim with any R11. */
    set_rflags(cpu, cpu->r[REG_R11]);
    cpu->counters->native_syscalls++;
    if (!(cpu->sregs.efer & EFER_SCE)) {
        cpu->rip = cpu->r[REG_RCX];
        return progress_deliver(cpu, &(struct cpu_exception){.vector = VECTOR_UD});
    }
    far_syscall(cpu, NULL, cpu->r[REG_RCX]);
    return PROGRESS;
}

/*
 * A #PF that the guest's own tables do not explain came from a stale shadow, or from a frame whose
 * accesses KVM emulates: resume the program. If it faults again, or the page is in the upper half,
 * which native runs do not map, interpret.
 */
static enum progress page_fault(struct cpu *cpu, uint32_t error)
{
    uint64_t va = kvm_run_sregs(cpu)->cr2;
    struct walk_request request = {
        .va = va,
        .access = error & PF_FETCH   ? WALK_EXECUTE
                  : error & PF_WRITE ? WALK_WRITE
                                     : WALK_READ,
        .user = true,
    };
    struct walk_result result = walk(cpu, &request);
    struct cpu_loop *loop = cpu->loop;

    cpu->counters->native_faults++;
    if (result.fault) {
        return progress_deliver(
            cpu, &(struct cpu_exception){
                     .vector = VECTOR_PF, .has_error = true, .error = result.error, .address = va});
    }
    bool again = loop->unexplained_va == va && loop->unexplained_rip == cpu->rip;
    if (again || va >> 63)
        loop->user_budget = cpu->engine->user_budget + 1;
    loop->unexplained_va = again ? 0 : va;
    loop->unexplained_rip = cpu->rip;
    return PROGRESS;
}

/*
 * Faults that kvm-pvm may be wrong about: INT n is #UD, IN and CLI with IOPL 3 are #GP, segments
 * are not in our GDT. The interpreter executes the instruction first (run.c).
 */
static bool is_doubtful(unsigned vector)
{
    return vector == VECTOR_UD || vector == VECTOR_NP || vector == VECTOR_SS || vector == VECTOR_GP;
}

static enum progress exception(struct cpu *cpu, unsigned vector, uint32_t error)
{
    struct cpu_exception exception = {
        .vector = (uint8_t)vector,
        .has_error = exception_has_error_code(vector),
        .error = error,
    };
    struct cpu_loop *loop = cpu->loop;

    if (vector == VECTOR_PF)
        return page_fault(cpu, error);
    cpu->counters->native_faults++;
    if (is_doubtful(vector)) {
        loop->doubted = exception;
        loop->doubted_rip = cpu->rip;
        loop->has_doubted = true;
        loop->user_budget = cpu->engine->user_budget + 1;
        return PROGRESS;
    }
    if (vector == VECTOR_BP || vector == VECTOR_OF) {
        exception.software = true;
        exception.length = 1;
    }
    if (vector == VECTOR_DB)
        exception.address = DR6_BS;
    return progress_deliver(cpu, &exception);
}

static enum progress arrive(struct cpu *cpu, const struct arrivals *arrivals)
{
    enum progress progress = PROGRESS;

    get_state_at_stub(cpu, arrivals);
    for (unsigned i = 0; i < arrivals->count && progress == PROGRESS; i++) {
        unsigned vector = arrivals->vectors[i];
        if (vector < VECTOR_FIRST_INTERRUPT && vector != VECTOR_NMI) {
            progress = exception(cpu, vector, arrivals->error);
            continue;
        }
        interrupts_taken(cpu, (int)vector, 0);
        cpu->counters->interrupts++;
        progress = progress_after(exception_deliver_interrupt(cpu, (uint8_t)vector));
    }
    return progress;
}

static bool is_device_exit(const struct cpu *cpu)
{
    return cpu->run->exit_reason == KVM_EXIT_MMIO || cpu->run->exit_reason == KVM_EXIT_IO;
}

/* A program accesses a device, by an instruction that KVM emulates. */
static enum progress device(struct cpu *cpu)
{
    enum kvm_entered entered = KVM_ENTERED;
    bool completed = true;

    cpu->loop->user_was_useful = true;
    safepoint_exit(cpu);
    /* KVM splits accesses of more than 8 bytes. */
    while (entered == KVM_ENTERED && completed && is_device_exit(cpu)) {
        completed = vcpu_serve_device(cpu->vcpu);
        entered = kvm_run_enter(cpu, KVM_ENTER_COMPLETE);
    }
    safepoint_enter(cpu);
    if (entered == KVM_REFUSED)
        return PROGRESS_FAILED;
    if (!cpu->in_kvm)
        get_state(cpu);
    return completed ? PROGRESS : PROGRESS_STOPPED;
}

/*
 * A program accesses the doorbell's page other than by SYSCALL: in its own address space there is
 * nothing. KVM completes the instruction first, so RIP may be after it.
 */
static enum progress touched_doorbell(struct cpu *cpu)
{
    const struct kvm_run *run = cpu->run;
    uint64_t va = private_region_shim_end() + PAGE_SIZE;
    struct cpu_exception exception = {
        .vector = VECTOR_PF,
        .has_error = true,
        .error = run->mmio.is_write ? PF_USER | PF_WRITE : PF_USER,
        .address = (va & PAGE_BASE) | (run->mmio.phys_addr & PAGE_OFFSET),
    };
    enum progress progress = device(cpu);
    if (progress != PROGRESS || cpu->cpl != 3)
        return progress;
    return progress_deliver(cpu, &exception);
}

static enum progress handle_exit(struct cpu *cpu, uint32_t raised)
{
    const struct kvm_run *run = cpu->run;
    const struct kvm_sregs *sregs = kvm_run_sregs(cpu);
    struct arrivals arrivals;

    if (cpu->rflags & RFLAGS_IF)
        interrupts_taken(cpu, -1, raised);
    if (arrivals_read(cpu, &arrivals))
        return arrive(cpu, &arrivals);
    if (sregs->ss.dpl == 3) {
        switch (run->exit_reason) {
        case KVM_EXIT_MMIO:
            if (run->mmio.is_write && kvm_run_regs(cpu)->rip == private_region_shim_end() &&
                run->mmio.phys_addr == private_region_doorbell_gpa(cpu->engine->private_region))
                return system_call(cpu);
            if (((run->mmio.phys_addr ^ private_region_doorbell_gpa(cpu->engine->private_region)) &
                 PAGE_BASE) == 0)
                return touched_doorbell(cpu);
            return device(cpu);
        case KVM_EXIT_IO:
            return device(cpu);
        case KVM_EXIT_INTERNAL_ERROR:
            get_state(cpu);
            return exception(cpu, VECTOR_UD, 0);
        default:
            break;
        }
    }
    if (run->exit_reason == KVM_EXIT_SHUTDOWN)
        return PROGRESS_SHUTDOWN;
    kvm_run_fail(cpu, "KVM exit reason %u in a program at 0x%llx", run->exit_reason,
                 (unsigned long long)kvm_run_regs(cpu)->rip);
    return PROGRESS_FAILED;
}

/* tables_enter_native() refused. */
static enum progress without_root(struct cpu *cpu, enum user_code next)
{
    if (__atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST))
        return PROGRESS;
    if (next == USER_CODE_UNKNOWN)
        return step_run(cpu);
    cpu->loop->user_budget = cpu->engine->user_budget + 1;
    return PROGRESS;
}

enum progress native_run(struct cpu *cpu, enum user_code next)
{
    moderation_release(cpu);
    uint32_t raised = __atomic_load_n(&cpu->interrupts->raised, __ATOMIC_SEQ_CST);

    kvm_run_set_stepping(cpu, false);
    state_install(cpu);
    fpu_release(cpu);
    uint64_t root = tables_enter_native(cpu);
    if (root == 0)
        return without_root(cpu, next);
    safepoint_exit(cpu);
    enum kvm_entered entered = routine_zap(cpu);
    if (entered == KVM_ENTERED) {
        put_state(cpu, root);
        cpu->counters->native_runs++;
        entered = kvm_run_enter(cpu, KVM_ENTER_GUEST);
    }
    safepoint_enter(cpu);
    tables_exit_native(cpu);
    switch (entered) {
    case KVM_ENTERED:
        return handle_exit(cpu, raised);
    case KVM_INTERRUPTED:
        get_state(cpu);
        return PROGRESS;
    case KVM_RESET:
        return PROGRESS;
    case KVM_REFUSED:
        break;
    }
    return PROGRESS_FAILED;
}
