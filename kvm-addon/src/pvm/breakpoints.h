/*
 * Breakpoints in DR0 to DR3 (SDM 3B 18.2): of instructions, of writes, of reads and writes; those
 * of ports never hit. kvm-pvm has none, so programs do not run natively while one is set in the
 * lower half. The page of an instruction breakpoint has no decoded code, that of a data breakpoint
 * no TLB entry: what may hit is seen by the slow paths, and executed by interpret_once() (run.c).
 *
 * A debugger on the host has the same registers for itself, which then replace the guest's, and a
 * list of instructions to stop at (debug_settings.h).
 */
#ifndef TSVM_PVM_BREAKPOINTS_H
#define TSVM_PVM_BREAKPOINTS_H

#include "../vcpu/debug_settings.h"
#include "cpu.h"

/* Call after changing cpu->debug. */
void breakpoints_changed(struct cpu *cpu);

/* For the inline functions below. */
bool breakpoints_in_page(const struct cpu *cpu, uint8_t which, uint64_t va);

/* Whether an instruction or data access in the page of `va` may hit a breakpoint. */
static inline bool breakpoints_in_code(const struct cpu *cpu, uint64_t va)
{
    uint8_t which = cpu->breakpoints.execution;
    return __builtin_expect(which, 0) && breakpoints_in_page(cpu, which, va);
}

static inline bool breakpoints_in_data(const struct cpu *cpu, uint64_t va)
{
    uint8_t which = cpu->breakpoints.access;
    return __builtin_expect(which, 0) && breakpoints_in_page(cpu, which, va);
}

/* The breakpoints that the instruction at `rip` hits, as bits of DR6. */
unsigned breakpoints_at_instruction(const struct cpu *cpu);

/* Whether the debugger's list has the instruction at `va`. */
static inline bool breakpoints_listed(const struct cpu *cpu, uint64_t va)
{
    const struct vcpu_debug *debugger = cpu->breakpoints.debugger;
    return debugger && vcpu_debug_has_breakpoint(debugger, va);
}

/* Whether the hits of registers are the debugger's, not the guest's. */
static inline bool breakpoints_are_debuggers(const struct cpu *cpu)
{
    const struct vcpu_debug *debugger = cpu->breakpoints.debugger;
    return debugger && debugger->dr7 != 0;
}

/*
 * Adds the breakpoints that the access hits to cpu->breakpoints.hits, which raise #DB after the
 * instruction, or after the element of a string. Leaves by INTERPRETED_ONCE, as a write to code
 * does (access.h).
 */
void breakpoints_access(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                        bool is_write);

#endif
