/* Finds the decoded code of a virtual address, and has decoded what is missing. */
#ifndef TSVM_PVM_CODE_LOOKUP_H
#define TSVM_PVM_CODE_LOOKUP_H

#include "cpu.h"

/*
 * Translates and decodes. Raises what a fetch would raise (leaving through cpu_leave()); code in a
 * device window or outside RAM is KVM's: INTERPRETED_STEP, at CPL 3 INTERPRETED_NATIVE. Sets
 * cpu->rip.
 * Not to be called by handlers: the memory of any decoded instruction may be used anew.
 */
struct insn *code_lookup(struct cpu *cpu, uint64_t va);
/*
 * The same for interpret_once(): the instruction at `va` alone, decoded afresh. What follows it in
 * memory is an insn_page_end. Good until the next call.
 */
struct insn *code_decode_once(struct cpu *cpu, uint64_t va);

/*
 * Before CPL 3 is interpreted (each call of interpret()), and at its serializing instructions:
 * pages that native runs may have changed meanwhile are compared with what was decoded before they
 * are used again. True: they are, and that may concern the code that is executed now.
 */
bool code_enter_user(struct cpu *cpu);

#endif
