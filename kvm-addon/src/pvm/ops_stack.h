/* Stack accesses of handlers. */
#ifndef TSVM_PVM_OPS_STACK_H
#define TSVM_PVM_OPS_STACK_H

#include "operands.h"

/*
 * X(form, operand type, its bits, type of the stack pointer): operands of 64 and 16 bits in 64-bit
 * mode, of 32 and 16 in compat mode. In the order of enum stack_form.
 */
#define STACK_FORMS(X)                                                                             \
    X(wide64, uint64_t, 64, uint64_t)                                                              \
    X(wide16, uint16_t, 16, uint64_t)                                                              \
    X(narrow32, uint32_t, 32, uint32_t)                                                            \
    X(narrow16, uint16_t, 16, uint32_t)

#define DEFINE_PUSH(form, type, bits, width)                                                       \
    static inline void push_##form(struct cpu *cpu, struct insn *insn, type value)                 \
    {                                                                                              \
        width sp = (width)(cpu->r[REG_RSP] - sizeof(type));                                        \
        store##bits(cpu, insn, sp, value);                                                         \
        cpu->r[REG_RSP] = sp;                                                                      \
    }                                                                                              \
    static inline type top_##form(struct cpu *cpu, struct insn *insn)                              \
    {                                                                                              \
        return load##bits(cpu, insn, (width)cpu->r[REG_RSP]);                                      \
    }                                                                                              \
    static inline void drop_##form(struct cpu *cpu)                                                \
    {                                                                                              \
        cpu->r[REG_RSP] = (width)(cpu->r[REG_RSP] + sizeof(type));                                 \
    }
STACK_FORMS(DEFINE_PUSH)

#define PUSH(form, value) push_##form(cpu, insn, value)
/* What POP would load; drop_*() then moves the stack pointer. */
#define TOP(form) top_##form(cpu, insn)
#define DROP(form) drop_##form(cpu)

#endif
