/* The interpreter's entry points. */
#ifndef TSVM_PVM_INTERPRET_H
#define TSVM_PVM_INTERPRET_H

#include "cpu.h"

/*
 * Interprets from cpu->rip on, at the current CPL and mode (64-bit, or 32-bit code in compat
 * mode), until there is a reason to come back. Blocks only in device accesses.
 *
 * INTERPRETED_ATTENTION also says that the CPL or the mode changed, or that RFLAGS.IF was set
 * while cpu->interrupt_waits. At least one instruction is executed, unless another reason is
 * returned: cpu->interrupt_shadow is cleared at the start, and set when the last instruction
 * made one.
 */
enum interpreted interpret(struct cpu *cpu);

/*
 * Interprets the one instruction at cpu->rip: it may store to code, and #DB for RFLAGS.TF is up
 * to the caller. INTERPRETED_ATTENTION says that it was executed and nothing else happened.
 */
enum interpreted interpret_once(struct cpu *cpu);

/* Whether the code is 64-bit, or 32-bit with flat segments. */
bool interpret_knows_segments(const struct cpu *cpu);

#endif
