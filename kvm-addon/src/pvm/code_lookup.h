/* Lookup of decoded code by virtual address, with address translation and decoding. */
#ifndef TSVM_PVM_CODE_LOOKUP_H
#define TSVM_PVM_CODE_LOOKUP_H

#include "cpu.h"

/*
 * Translates and decodes. Raises what a fetch would raise (leaving through cpu_leave()); code
 * outside RAM is left to KVM: INTERPRETED_STEP, at CPL 3 INTERPRETED_NATIVE. Sets cpu->rip.
 * Handlers must not call it: it may reuse the memory of any decoded instruction.
 */
struct insn *code_lookup(struct cpu *cpu, uint64_t va);
/*
 * The same for interpret_once(): only the instruction at `va`, newly decoded and followed by an
 * insn_page_end. Valid until the next call.
 */
struct insn *code_decode_once(struct cpu *cpu, uint64_t va);

/*
 * Before CPL 3 is interpreted (each call of interpret()), and at its serializing instructions:
 * pages that native runs may have changed meanwhile are compared with what was decoded before they
 * are used again. True: this may apply to the code that is being executed.
 */
bool code_enter_user(struct cpu *cpu);

#endif
