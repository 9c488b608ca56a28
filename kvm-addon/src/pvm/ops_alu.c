/* Arithmetic and logic: the eight of opcodes 00-3F, TEST, INC, DEC, NOT, NEG. */
#include "handlers.h"

/*
 * name##bits(to, from, &status) computes; name##_memory##bits(place, ...) does so in memory, in
 * one instruction as the guest's was, and name##_lock##bits atomically.
 */
#define DEFINE_BINARY(name, mnemonic, LOAD, mode, type, suffix, bits)                              \
    ALWAYS_INLINE type name##bits(type to, type from, uint32_t *status)                            \
    {                                                                                              \
        asm(LOAD mnemonic suffix " %[from], %[to]" SAVE_STATUS                                     \
            : [to] "+&r"(to), mode(*status)                                                        \
            : [from] "r"(from)                                                                     \
            : "cc");                                                                               \
        return to;                                                                                 \
    }                                                                                              \
    ALWAYS_INLINE void name##_memory##bits(void *place, type from, uint32_t *status)               \
    {                                                                                              \
        asm volatile(LOAD mnemonic suffix " %[from], %[to]" SAVE_STATUS                            \
                     : [to] "+m"(*(volatile unaligned_##bits *)place), mode(*status)               \
                     : [from] "r"(from)                                                            \
                     : "cc", "memory");                                                            \
    }                                                                                              \
    ALWAYS_INLINE void name##_lock##bits(void *place, type from, uint32_t *status)                 \
    {                                                                                              \
        asm volatile(LOAD "lock; " mnemonic suffix " %[from], %[to]" SAVE_STATUS                   \
                     : [to] "+m"(*(volatile unaligned_##bits *)place), mode(*status)               \
                     : [from] "r"(from)                                                            \
                     : "cc", "memory");                                                            \
    }

#define BINARY(name, ...) SIZES(DEFINE_BINARY, name, #name, __VA_ARGS__)

BINARY(add, NO_STATUS_IN)
BINARY(or, NO_STATUS_IN)
BINARY(adc, CARRY_IN)
BINARY(sbb, CARRY_IN)
BINARY(and, NO_STATUS_IN)
BINARY(sub, NO_STATUS_IN)
BINARY(xor, NO_STATUS_IN)

#define DEFINE_COMPARE(name, mnemonic, type, suffix, bits)                                         \
    ALWAYS_INLINE void name##bits(struct cpu *cpu, type to, type from)                             \
    {                                                                                              \
        uint32_t status;                                                                           \
        asm(mnemonic suffix " %[from], %[to]" SAVE_STATUS                                          \
            : "=&a"(status)                                                                        \
            : [to] "r"(to), [from] "r"(from)                                                       \
            : "cc");                                                                               \
        cpu->status = status;                                                                      \
    }

SIZES(DEFINE_COMPARE, cmp, "cmp")
SIZES(DEFINE_COMPARE, test, "test")

/* ---- operations with a result ---- */

#define BINARY_REGISTER(name, type, suffix, bits)                                                  \
    HANDLER(name##_rr##bits)                                                                       \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type result = name##bits(REG(type, insn->rm), REG(type, insn->reg), &status);              \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->rm, result);                                                           \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_ri##bits)                                                                       \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type result = name##bits(REG(type, insn->rm), (type)insn->immediate, &status);             \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->rm, result);                                                           \
        NEXT;                                                                                      \
    }

#define BINARY_LOAD(at, name, type, suffix, bits)                                                  \
    HANDLER(name##_rm##bits##_##at)                                                                \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type from = load##bits(cpu, insn, address_##at(cpu, insn));                                \
        type result = name##bits(REG(type, insn->reg), from, &status);                             \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->reg, result);                                                          \
        NEXT;                                                                                      \
    }

#define BINARY_MODIFY(at, name, form, operand, type, bits)                                         \
    HANDLER(name##_##form##bits##_##at)                                                            \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        uint64_t va = address_##at(cpu, insn);                                                     \
        void *place = operand_modify(cpu, insn, va, sizeof(type));                                 \
        if (likely(place)) {                                                                       \
            name##_memory##bits(place, operand, &status);                                          \
        } else {                                                                                   \
            type old = (type)operand_load_slow(cpu, insn, va, sizeof(type));                       \
            operand_store_slow(cpu, insn, va, sizeof(type), name##bits(old, operand, &status));    \
        }                                                                                          \
        cpu->status = status;                                                                      \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_lock_##form##bits##_##at)                                                       \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        uint64_t va = address_##at(cpu, insn);                                                     \
        void *place = operand_modify_locked(cpu, insn, va, sizeof(type));                          \
        if (likely(place)) {                                                                       \
            name##_lock##bits(place, operand, &status);                                            \
        } else {                                                                                   \
            type old, seen = (type)operand_load_slow(cpu, insn, va, sizeof(type));                 \
            do {                                                                                   \
                old = seen;                                                                        \
                status = cpu->status;                                                              \
                type result = name##bits(old, operand, &status);                                   \
                seen =                                                                             \
                    (type)operand_compare_exchange_slow(cpu, insn, va, sizeof(type), old, result); \
            } while (seen != old);                                                                 \
        }                                                                                          \
        cpu->status = status;                                                                      \
        NEXT;                                                                                      \
    }

#define BINARY_MEMORY(at, name, type, suffix, bits)                                                \
    BINARY_LOAD(at, name, type, suffix, bits)                                                      \
    BINARY_MODIFY(at, name, mr, REG(type, insn->reg), type, bits)                                  \
    BINARY_MODIFY(at, name, mi, (type)insn->immediate, type, bits)
#define BINARY_HANDLERS_AT(at, name) SIZES(BINARY_MEMORY, at, name)
#define BINARY_HANDLERS(name)                                                                      \
    SIZES(BINARY_REGISTER, name)                                                                   \
    ADDRESSINGS(BINARY_HANDLERS_AT, name)

BINARY_HANDLERS(add)
BINARY_HANDLERS(or)
BINARY_HANDLERS(adc)
BINARY_HANDLERS(sbb)
BINARY_HANDLERS(and)
BINARY_HANDLERS(sub)
BINARY_HANDLERS(xor)

/* ---- CMP and TEST ---- */

#define COMPARE_REGISTER(name, type, suffix, bits)                                                 \
    HANDLER(name##_rr##bits)                                                                       \
    {                                                                                              \
        name##bits(cpu, REG(type, insn->rm), REG(type, insn->reg));                                \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_ri##bits)                                                                       \
    {                                                                                              \
        name##bits(cpu, REG(type, insn->rm), (type)insn->immediate);                               \
        NEXT;                                                                                      \
    }

#define COMPARE_LOAD(at, name, type, suffix, bits)                                                 \
    HANDLER(name##_rm##bits##_##at)                                                                \
    {                                                                                              \
        type from = load##bits(cpu, insn, address_##at(cpu, insn));                                \
        name##bits(cpu, REG(type, insn->reg), from);                                               \
        NEXT;                                                                                      \
    }
#define COMPARE_MEMORY(at, name, type, suffix, bits)                                               \
    HANDLER(name##_mr##bits##_##at)                                                                \
    {                                                                                              \
        type to = load##bits(cpu, insn, address_##at(cpu, insn));                                  \
        name##bits(cpu, to, REG(type, insn->reg));                                                 \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_mi##bits##_##at)                                                                \
    {                                                                                              \
        type to = load##bits(cpu, insn, address_##at(cpu, insn));                                  \
        name##bits(cpu, to, (type)insn->immediate);                                                \
        NEXT;                                                                                      \
    }
#define COMPARE_HANDLERS_AT(at, name) SIZES(COMPARE_MEMORY, at, name)
#define COMPARE_HANDLERS(name)                                                                     \
    SIZES(COMPARE_REGISTER, name)                                                                  \
    ADDRESSINGS(COMPARE_HANDLERS_AT, name)

#define COMPARE_LOADS_AT(at, name) SIZES(COMPARE_LOAD, at, name)
COMPARE_HANDLERS(cmp)
COMPARE_HANDLERS(test)
ADDRESSINGS(COMPARE_LOADS_AT, cmp)

/* ---- tables, in the order of the opcodes ---- */

#define BY_OPERATION(form)                                                                         \
    {                                                                                              \
        ROW(add_##form), ROW(or_##form), ROW(adc_##form), ROW(sbb_##form), ROW(and_##form),        \
            ROW(sub_##form), ROW(xor_##form), ROW(cmp_##form)                                      \
    }
#define MODIFY_BY_OPERATION_AT(form, at)                                                           \
    ROW_AT(add_##form, at), ROW_AT(or_##form, at), ROW_AT(adc_##form, at), ROW_AT(sbb_##form, at), \
        ROW_AT(and_##form, at), ROW_AT(sub_##form, at), ROW_AT(xor_##form, at)
#define BY_OPERATION_AT(form, at)                                                                  \
    {                                                                                              \
        MODIFY_BY_OPERATION_AT(form, at), ROW_AT(cmp_##form, at)                                   \
    }
#define LOCK_BY_OPERATION_AT(form, at)                                                             \
    {                                                                                              \
        MODIFY_BY_OPERATION_AT(form, at)                                                           \
    }
#define TABLE_AT(X, form)                                                                          \
    {                                                                                              \
        X(form, general), X(form, plain), X(form, narrow)                                          \
    }

insn_handler *const alu_rr[8][4] = BY_OPERATION(rr);
insn_handler *const alu_ri[8][4] = BY_OPERATION(ri);
insn_handler *const alu_rm[3][8][4] = TABLE_AT(BY_OPERATION_AT, rm);
insn_handler *const alu_mr[3][8][4] = TABLE_AT(BY_OPERATION_AT, mr);
insn_handler *const alu_mi[3][8][4] = TABLE_AT(BY_OPERATION_AT, mi);
insn_handler *const alu_lock_mr[3][8][4] = TABLE_AT(LOCK_BY_OPERATION_AT, lock_mr);
insn_handler *const alu_lock_mi[3][8][4] = TABLE_AT(LOCK_BY_OPERATION_AT, lock_mi);

insn_handler *const test_rr[4] = ROW(test_rr);
insn_handler *const test_ri[4] = ROW(test_ri);
insn_handler *const test_mr[3][4] = ROWS_AT(test_mr);
insn_handler *const test_mi[3][4] = ROWS_AT(test_mi);
