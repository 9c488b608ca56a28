/* Completes one instruction that KVM's emulator refused at CPL 0. */
#ifndef TSVM_EMULATOR_FIXUP_H
#define TSVM_EMULATOR_FIXUP_H

#include "access.h"

/* KVM_EXIT_INTERNAL_ERROR. */
enum emu_result emu_fixup(struct emu_cpu *cpu);

/* Executes a decoded instruction and steps over it. `insn->kind` is a kind to be completed. */
enum emu_outcome emu_execute(struct emu_cpu *cpu, const struct emu_insn *insn);

/* The instructions of xsave.c and segment.c. They do not step. */
enum emu_outcome emu_execute_xgetbv(struct emu_cpu *cpu);
enum emu_outcome emu_execute_xsave(struct emu_cpu *cpu, const struct emu_insn *insn);
enum emu_outcome emu_execute_xrstor(struct emu_cpu *cpu, const struct emu_insn *insn);
enum emu_outcome emu_execute_mxcsr(struct emu_cpu *cpu, const struct emu_insn *insn);
enum emu_outcome emu_execute_fwait(struct emu_cpu *cpu);
enum emu_outcome emu_execute_selector(struct emu_cpu *cpu, const struct emu_insn *insn);

/* The ModRM.rm operand, zero-extended from its `size` of 1, 2, 4 or 8 bytes. */
enum emu_outcome emu_read_operand(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size,
                                  uint64_t *value);

#endif
