/* The interpreter's entry points. */
#ifndef TSVM_PVM_INTERPRET_H
#define TSVM_PVM_INTERPRET_H

#include "cpu.h"

/*
 * Interprets from cpu->rip on, at the current CPL and mode (64-bit, or 32-bit code in compat
 * mode), until there is a reason to come back. Never blocks but in a device access.
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

/* Whether the code is 64-bit, or 32-bit with segments as programs of today have them. */
bool interpret_knows_segments(const struct cpu *cpu);

enum decode_mode { DECODE_64, DECODE_COMPAT32 };

/*
 * Decodes the instruction at page offset `offset`, of which `available` bytes are given. Returns
 * its length, or 0 if it needs more bytes. `*ends` is set if execution never continues directly
 * after it. An unsupported instruction gets a handler that leaves it to KVM. Never reads past
 * `available`; lengths over 15 decode to #GP(0) (SDM 2A 2.3.11).
 */
unsigned decode(const uint8_t *bytes, unsigned offset, unsigned available, enum decode_mode mode,
                struct insn *insn, bool *ends);

/*
 * For two instructions of which the second was decoded behind the first, and follows it in memory:
 * `first` may get a handler that does the work of both, and of those that the second's does. To be
 * called for the last two of a decoded run first, and for its first two last.
 */
void decode_fuse(struct insn *first, const struct insn *second);

/* Handlers that the code cache puts between decoded runs. */
extern insn_handler *const insn_goto; /* continues at insn->target */
extern insn_handler
    *const insn_page_end; /* the run goes on at insn->relative from this page's start */

#endif
