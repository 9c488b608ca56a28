/* Executes one instruction that KVM's emulator does not support at CPL 0. */
#ifndef TSVM_EMULATOR_FIXUP_H
#define TSVM_EMULATOR_FIXUP_H

#include "access.h"

/* Handles KVM_EXIT_INTERNAL_ERROR. */
enum emu_result emu_fixup(struct emu_cpu *cpu);

/* Executes a decoded instruction of a supported kind and advances RIP. */
enum emu_outcome emu_execute(struct emu_cpu *cpu, const struct emu_insn *insn);

/* The instructions of xsave.c and segment.c. They do not advance RIP. */
enum emu_outcome emu_execute_xgetbv(struct emu_cpu *cpu);
enum emu_outcome emu_execute_xsave(struct emu_cpu *cpu, const struct emu_insn *insn);
enum emu_outcome emu_execute_xrstor(struct emu_cpu *cpu, const struct emu_insn *insn);
enum emu_outcome emu_execute_mxcsr(struct emu_cpu *cpu, const struct emu_insn *insn);
enum emu_outcome emu_execute_fwait(struct emu_cpu *cpu);
enum emu_outcome emu_execute_selector(struct emu_cpu *cpu, const struct emu_insn *insn);

/* Reads the ModRM.rm operand of `size` 1, 2, 4 or 8 bytes, zero-extended. */
enum emu_outcome emu_read_operand(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size,
                                  uint64_t *value);

#endif
