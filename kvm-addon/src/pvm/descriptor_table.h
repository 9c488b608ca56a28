/* Descriptors in the guest's GDT and LDT. */
#ifndef TSVM_PVM_DESCRIPTOR_TABLE_H
#define TSVM_PVM_DESCRIPTOR_TABLE_H

#include "cpu.h"

/*
 * Reads the 8 bytes of `selector`'s descriptor from the GDT or LDT. False when it is not in the
 * table. Raises #PF.
 */
bool descriptor_read(struct cpu *cpu, const struct insn *insn, uint16_t selector, uint64_t *raw);
/* The upper 8 bytes of a 16-byte descriptor. */
bool descriptor_read_upper(struct cpu *cpu, const struct insn *insn, uint16_t selector,
                           uint64_t *raw);
/* Sets bits in the descriptor's type, in memory: accessed, busy. */
void descriptor_set_type(struct cpu *cpu, const struct insn *insn, uint16_t selector, uint64_t raw,
                         unsigned bits);

#endif
