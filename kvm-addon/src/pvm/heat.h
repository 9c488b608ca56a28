/* Which code is executed often enough to be translated. */
#ifndef TSVM_PVM_HEAT_H
#define TSVM_PVM_HEAT_H

#include "cpu.h"

static inline uint8_t *heat_of(struct cpu *cpu, const struct insn *insn)
{
    return &cpu->heat[(uintptr_t)insn / sizeof *insn & (HEAT_SLOTS - 1)];
}

/*
 * Counts a jump to the instruction. True: it is to be translated, for which the interpreter returns
 * (cpu->hot). Instructions that share a counter are only translated earlier.
 */
static inline bool heat_count(struct cpu *cpu, const struct insn *insn)
{
    uint8_t *heat = heat_of(cpu, insn);
    if (__builtin_expect(--*heat != 0, 1))
        return false;
    cpu->hot = true;
    return true;
}

#endif
