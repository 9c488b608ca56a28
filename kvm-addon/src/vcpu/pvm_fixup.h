/* Completes one instruction that KVM's emulator refused at CPL 0. */
#ifndef TSVM_PVM_FIXUP_H
#define TSVM_PVM_FIXUP_H

#include "pvm_access.h"

/* KVM_EXIT_INTERNAL_ERROR. */
enum pvm_result pvm_fixup(struct pvm_cpu *cpu);

/* Executes a decoded instruction and steps over it. `insn->kind` is a kind to be completed. */
enum pvm_outcome pvm_execute(struct pvm_cpu *cpu, const struct pvm_insn *insn);

/* The instructions of pvm_xsave.c and pvm_segment.c. They do not step. */
enum pvm_outcome pvm_execute_xgetbv(struct pvm_cpu *cpu);
enum pvm_outcome pvm_execute_xsave(struct pvm_cpu *cpu, const struct pvm_insn *insn);
enum pvm_outcome pvm_execute_xrstor(struct pvm_cpu *cpu, const struct pvm_insn *insn);
enum pvm_outcome pvm_execute_mxcsr(struct pvm_cpu *cpu, const struct pvm_insn *insn);
enum pvm_outcome pvm_execute_fwait(struct pvm_cpu *cpu);
enum pvm_outcome pvm_execute_selector(struct pvm_cpu *cpu, const struct pvm_insn *insn);

/* The ModRM.rm operand, zero-extended from its `size` of 1, 2, 4 or 8 bytes. */
enum pvm_outcome pvm_read_operand(struct pvm_cpu *cpu, const struct pvm_insn *insn, unsigned size,
                                  uint64_t *value);

#endif
