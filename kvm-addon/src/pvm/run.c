/* The loop of a vCPU's thread: engine_run_vcpu(). */
#include <sched.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "../vcpu/vcpu.h"
#include "arch.h"
#include "breakpoints.h"
#include "counters.h"
#include "engine.h"
#include "engine_api.h"
#include "interpret.h"
#include "interrupts.h"
#include "loop.h"
#include "moderation.h"
#include "native.h"
#include "rest.h"
#include "routines.h"
#include "safepoint.h"
#include "state.h"
#include "step.h"
#include "system.h"

/* Taken jumps between two checks of the clock: about 10 us. */
#define SLICE 2000
/*
 * A slice with more PAUSEs than SPINS_OF_SLICE was spent spinning. After SLICES_TO_YIELD of them in
 * a row, which is longer than a running vCPU holds a lock, the thread yields: the holder may wait
 * for a processor.
 */
#define SPINS_OF_SLICE 20
#define SLICES_TO_YIELD 5

static bool can_interrupt(const struct cpu *cpu)
{
    return cpu->rflags & RFLAGS_IF && !cpu->interrupt_shadow;
}

static enum progress deliver_interrupt(struct cpu *cpu, unsigned vector)
{
    cpu->counters->interrupts++;
    cpu->loop->halted = false;
    return progress_after(exception_deliver_interrupt(cpu, (uint8_t)vector));
}

/* `allowed`: interrupts were, and not only NMIs. */
static enum progress deliver_arrivals(struct cpu *cpu, const struct arrivals *arrivals,
                                      uint32_t raised, bool allowed)
{
    enum progress progress = PROGRESS;

    if (arrivals->count == 0 && allowed)
        interrupts_taken(cpu, -1, raised);
    for (unsigned i = 0; i < arrivals->count && progress == PROGRESS; i++) {
        unsigned vector = arrivals->vectors[i];
        if (vector < VECTOR_FIRST_INTERRUPT && vector != VECTOR_NMI) {
            kvm_run_fail(cpu, "exception %u in code of the engine", vector);
            return PROGRESS_FAILED;
        }
        interrupts_taken(cpu, (int)vector, raised);
        progress = deliver_interrupt(cpu, vector);
    }
    return progress;
}

static enum progress from_entered(struct cpu *cpu, enum kvm_entered entered,
                                  const struct arrivals *arrivals, uint32_t raised, bool allowed)
{
    switch (entered) {
    case KVM_ENTERED:
        return deliver_arrivals(cpu, arrivals, raised, allowed);
    case KVM_INTERRUPTED:
    case KVM_RESET:
        return PROGRESS;
    case KVM_REFUSED:
        break;
    }
    return PROGRESS_FAILED;
}

/* Takes what is pending in KVM, if the vCPU can be interrupted now. */
static enum progress take_interrupt(struct cpu *cpu)
{
    uint32_t raised = __atomic_load_n(&cpu->interrupts->raised, __ATOMIC_SEQ_CST);
    bool nmi = __atomic_exchange_n(&cpu->interrupts->nmi_raised, false, __ATOMIC_SEQ_CST);
    bool allowed = can_interrupt(cpu);
    struct arrivals arrivals;

    cpu->interrupt_waits = !allowed;
    if (!allowed && !nmi)
        return PROGRESS;
    cpu->counters->interrupt_polls++;
    enum kvm_entered entered = routine_run(cpu, PRIVATE_TAKE, allowed, &arrivals);
    return from_entered(cpu, entered, &arrivals, raised, allowed);
}

/* HLT: sleeps in KVM until an interrupt comes. */
static enum progress halt(struct cpu *cpu)
{
    moderation_release(cpu);
    uint32_t raised = __atomic_load_n(&cpu->interrupts->raised, __ATOMIC_SEQ_CST);
    struct arrivals arrivals;

    cpu->counters->halts++;
    rest_begin(cpu);
    bool allowed = cpu->rflags & RFLAGS_IF;
    safepoint_exit(cpu);
    enum kvm_entered entered = routine_run(cpu, PRIVATE_HALT, allowed, &arrivals);
    safepoint_enter(cpu);
    rest_end(cpu);
    return from_entered(cpu, entered, &arrivals, raised, allowed);
}

/* INIT was sent: KVM carries it out when it is asked for the state. */
static void look_for_reset(struct cpu *cpu)
{
    struct kvm_mp_state mp;
    struct kvm_sregs sregs;

    if (cpu->in_kvm || ioctl(cpu->fd, KVM_GET_MP_STATE, &mp) < 0 ||
        ioctl(cpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return;
    if (!(sregs.cr0 & CR0_PE) || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED) {
        *kvm_run_sregs(cpu) = sregs;
        cpu->run->kvm_dirty_regs = 0;
        cpu->in_kvm = true;
    }
}

/* Between two instructions: handles cpu->attention. */
static enum progress attend(struct cpu *cpu)
{
    int32_t attention = __atomic_exchange_n(&cpu->attention, 0, __ATOMIC_SEQ_CST);

    if (attention & ATTENTION_REQUESTS)
        safepoint_serve(cpu);
    if (attention & (ATTENTION_ORDER | ATTENTION_RESET))
        moderation_release(cpu);
    if (attention & ATTENTION_ORDER) {
        safepoint_exit(cpu);
        bool run = vcpu_obey_order(cpu->vcpu);
        safepoint_enter(cpu);
        if (!run)
            return PROGRESS_STOPPED;
    }
    if (attention & ATTENTION_RESET)
        look_for_reset(cpu);
    if (attention & ATTENTION_ZAPS && !cpu->in_kvm) {
        safepoint_exit(cpu);
        enum kvm_entered entered = routine_zap(cpu);
        safepoint_enter(cpu);
        if (entered == KVM_REFUSED)
            return PROGRESS_FAILED;
    }
    if (cpu->in_kvm)
        cpu->loop->halted = false;
    else if (attention & ATTENTION_INTERRUPT && interrupts_wait(cpu) && !cpu->loop->halted)
        return take_interrupt(cpu);
    return PROGRESS;
}

/* Delivers #DB for a single step or a breakpoint. */
static enum progress trap(struct cpu *cpu, uint64_t causes, bool is_fault)
{
    return progress_deliver(
        cpu, &(struct cpu_exception){.vector = VECTOR_DB, .is_fault = is_fault, .address = causes});
}

static enum progress continue_natively(struct cpu *cpu, enum user_code next)
{
    struct cpu_loop *loop = cpu->loop;
    bool is_doubted = loop->has_doubted && loop->doubted_rip == cpu->rip;

    /* The exception that KVM reported is correct only if the interpreter does not support the
     * instruction. */
    loop->has_doubted = false;
    if (is_doubted && next == USER_CODE_UNKNOWN)
        return progress_deliver(cpu, &loop->doubted);
    /* The upper half is not mapped in native runs. */
    if (cpu->rip >> 63 || cpu->breakpoints.of_programs || loop->steps ||
        !interpret_knows_segments(cpu))
        return step_run(cpu);
    loop->user_budget = cpu->engine->user_budget;
    return native_run(cpu, next);
}

static enum progress act_on(struct cpu *cpu, enum interpreted why)
{
    if (why != INTERPRETED_NATIVE && why != INTERPRETED_STEP)
        cpu->loop->has_doubted = false;
    switch (why) {
    case INTERPRETED_ATTENTION:
    case INTERPRETED_ONCE:
        return PROGRESS;
    case INTERPRETED_EXCEPTION:
        return progress_deliver(cpu, &cpu->exception);
    case INTERPRETED_STEP:
    case INTERPRETED_NATIVE:
        return cpu->cpl == 3 ? continue_natively(cpu, USER_CODE_UNKNOWN) : step_run(cpu);
    case INTERPRETED_HALT:
        cpu->loop->halted = true;
        return PROGRESS;
    case INTERPRETED_STOPPED:
        return PROGRESS_STOPPED;
    }
    return PROGRESS_FAILED;
}

/* The debugger gets `causes`, before anything else is executed. */
static enum progress stop_for_debugger(struct cpu *cpu, uint32_t causes)
{
    vcpu_debug_stop(cpu->vcpu, causes);
    return PROGRESS;
}

/*
 * One instruction, with the #DB of an instruction breakpoint before it, or of a single step and
 * data breakpoints after it.
 */
static enum progress interpret_single(struct cpu *cpu)
{
    bool was_stepping = cpu->rflags & RFLAGS_TF;
    unsigned cpl = cpu->cpl;
    cpu->loop->executed = false;
    if (breakpoints_listed(cpu, cpu->rip))
        return stop_for_debugger(cpu, TSVM_DEBUG_BREAKPOINT);
    unsigned hits = breakpoints_at_instruction(cpu);
    if (hits)
        return breakpoints_are_debuggers(cpu) ? stop_for_debugger(cpu, hits)
                                              : trap(cpu, hits, true);
    cpu->breakpoints.hits = 0;
    enum interpreted why = interpret_once(cpu);
    bool executed = why == INTERPRETED_ATTENTION || why == INTERPRETED_HALT;
    cpu->loop->executed = executed;
    hits = executed ? cpu->breakpoints.hits : 0;
    enum progress progress = act_on(cpu, why);

    /* A system call cancels the single step. */
    bool steps = was_stepping && executed && cpu->cpl == cpl;
    if (hits && progress == PROGRESS && breakpoints_are_debuggers(cpu)) {
        progress = stop_for_debugger(cpu, hits);
        hits = 0;
    }
    bool traps = (steps || hits) && progress == PROGRESS;
    return traps ? trap(cpu, hits | (steps ? DR6_BS : 0), false) : progress;
}

/* Before long mode, KVM steps. */
static enum progress step_legacy_or_stop(struct cpu *cpu)
{
    const struct kvm_sregs *sregs = kvm_run_sregs(cpu);
    uint64_t rip = sregs->cs.base + kvm_run_regs(cpu)->rip;

    return breakpoints_listed(cpu, rip) ? stop_for_debugger(cpu, TSVM_DEBUG_BREAKPOINT)
                                        : step_legacy(cpu);
}

/* One instruction for a debugger, with no interrupt before it unless the vCPU halts. */
static enum progress step_for_debugger(struct cpu *cpu)
{
    struct cpu_loop *loop = cpu->loop;
    uint64_t rip = cpu->rip;
    bool was_halted = loop->halted, was_in_kvm = cpu->in_kvm;
    enum progress progress;

    loop->executed = false;
    if (was_in_kvm)
        progress = step_legacy_or_stop(cpu);
    else if (was_halted)
        progress = halt(cpu);
    else if (!interpret_knows_segments(cpu))
        progress = step_run(cpu);
    else
        progress = interpret_single(cpu);
    /* Where KVM was interrupted nothing has happened yet. */
    bool done = loop->executed || (was_in_kvm && cpu->in_kvm) || cpu->rip != rip ||
                (was_halted && !loop->halted);
    bool has_stopped = __atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST) & ATTENTION_ORDER;
    return progress == PROGRESS && done && !has_stopped ? stop_for_debugger(cpu, TSVM_DEBUG_STEP)
                                                        : progress;
}

/* Runs the interpreter with its budget for the current CPL, and subtracts what it used. */
static enum interpreted interpret_some(struct cpu *cpu)
{
    struct cpu_loop *loop = cpu->loop;
    bool user = cpu->cpl == 3;
    int32_t granted = user && loop->user_budget < loop->slice ? loop->user_budget : loop->slice;

    cpu->budget = granted;
    enum interpreted why = interpret(cpu);
    int32_t used = granted - cpu->budget;
    loop->slice -= used;
    if (user)
        loop->user_budget -= used;
    return why;
}

static void next_slice(struct cpu *cpu)
{
    struct cpu_loop *loop = cpu->loop;

    loop->slice = SLICE;
    moderation_check_clock(cpu, __rdtsc());
    interrupts_check_clock(cpu);
    loop->spun_slices = cpu->spins - loop->spins > SPINS_OF_SLICE ? loop->spun_slices + 1 : 0;
    loop->spins = cpu->spins;
    if (loop->spun_slices < SLICES_TO_YIELD)
        return;
    loop->spun_slices = 0;
    sched_yield();
}

/* CPL 3 has used up its budget of interpretation. */
static enum progress leave_interpreter(struct cpu *cpu)
{
    struct cpu_loop *loop = cpu->loop;

    /* KVM would emulate 32-bit code, which is a hundred times slower; native runs do not have the
     * upper half, nor breakpoints. */
    if (loop->user_was_useful || cpu->compat || cpu->rip >> 63 || cpu->breakpoints.of_programs) {
        loop->user_was_useful = false;
        loop->user_budget = cpu->engine->user_budget + 1;
        return PROGRESS;
    }
    return continue_natively(cpu, USER_CODE_KNOWN);
}

static enum progress go_on(struct cpu *cpu)
{
    struct cpu_loop *loop = cpu->loop;

    if (loop->refused)
        return PROGRESS_FAILED;
    if (__atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST))
        return attend(cpu);
    if (cpu->in_kvm)
        return loop->steps ? step_for_debugger(cpu) : step_legacy_or_stop(cpu);
    /* An interrupt came first: the kernel may continue another program at the same address. */
    if (cpu->cpl != 3)
        loop->has_doubted = false;
    if (loop->nmi_arrived && !cpu->nmi_blocked && !cpu->interrupt_shadow) {
        loop->nmi_arrived = false;
        return deliver_interrupt(cpu, VECTOR_NMI);
    }
    if (loop->halted && !loop->steps)
        return halt(cpu);
    if (!(cpu->sregs.cr0 & CR0_PG))
        return state_hand_over(cpu) < 0 ? PROGRESS_FAILED : PROGRESS;
    if (loop->steps)
        return step_for_debugger(cpu);
    if (cpu->interrupt_waits && can_interrupt(cpu))
        return take_interrupt(cpu);
    if (!interpret_knows_segments(cpu))
        return step_run(cpu);
    if (loop->slice <= 0)
        next_slice(cpu);
    if (cpu->rflags & RFLAGS_TF || cpu->interrupt_shadow || breakpoints_in_code(cpu, cpu->rip))
        return interpret_single(cpu);
    if (cpu->cpl == 3 && loop->user_budget <= 0)
        return leave_interpreter(cpu);

    unsigned cpl = cpu->cpl;
    enum interpreted why = interpret_some(cpu);
    if (why == INTERPRETED_ONCE)
        return interpret_single(cpu);
    /* Each entry to CPL 3 gets a new budget. */
    if (cpl != 3 && cpu->cpl == 3)
        loop->user_budget = cpu->engine->user_budget;
    return why == INTERPRETED_ATTENTION ? PROGRESS : act_on(cpu, why);
}

enum run_end engine_run_vcpu(struct cpu *cpu)
{
    enum progress progress = PROGRESS;

    safepoint_enter(cpu);
    if (cpu->loop->clock_set && !cpu->in_kvm)
        routine_touch(cpu);
    cpu->loop->clock_set = false;
    while (progress == PROGRESS)
        progress = go_on(cpu);
    moderation_release(cpu);
    safepoint_exit(cpu);
    switch (progress) {
    case PROGRESS:
    case PROGRESS_STOPPED:
        return RUN_STOPPED;
    case PROGRESS_SHUTDOWN:
        return RUN_SHUTDOWN;
    case PROGRESS_FAILED:
        break;
    }
    return RUN_FAILED;
}
