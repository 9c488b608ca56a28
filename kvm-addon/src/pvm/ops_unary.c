/* INC, DEC, NOT, NEG. */
#include "handlers.h"

/* `mask`: the flags it changes. INC and DEC keep CF, NOT keeps all. */
#define DEFINE_UNARY(name, mnemonic, mask, type, suffix, bits)                                     \
    ALWAYS_INLINE type name##bits(type value, uint32_t *status)                                    \
    {                                                                                              \
        uint32_t after;                                                                            \
        asm(mnemonic suffix " %[value]" SAVE_STATUS                                                \
            : [value] "+&r"(value), "=&a"(after)                                                   \
            :                                                                                      \
            : "cc");                                                                               \
        *status = STATUS_CHANGED(*status, after, mask);                                            \
        return value;                                                                              \
    }                                                                                              \
    ALWAYS_INLINE void name##_memory##bits(void *place, uint32_t *status)                          \
    {                                                                                              \
        uint32_t after;                                                                            \
        asm volatile(mnemonic suffix " %[value]" SAVE_STATUS                                       \
                     : [value] "+m"(*(volatile unaligned_##bits *)place), "=&a"(after)             \
                     :                                                                             \
                     : "cc", "memory");                                                            \
        *status = STATUS_CHANGED(*status, after, mask);                                            \
    }                                                                                              \
    ALWAYS_INLINE void name##_lock##bits(void *place, uint32_t *status)                            \
    {                                                                                              \
        uint32_t after;                                                                            \
        asm volatile("lock; " mnemonic suffix " %[value]" SAVE_STATUS                              \
                     : [value] "+m"(*(volatile unaligned_##bits *)place), "=&a"(after)             \
                     :                                                                             \
                     : "cc", "memory");                                                            \
        *status = STATUS_CHANGED(*status, after, mask);                                            \
    }                                                                                              \
    HANDLER(name##_r##bits)                                                                        \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type result = name##bits(REG(type, insn->rm), &status);                                    \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->rm, result);                                                           \
        NEXT;                                                                                      \
    }

#define UNARY_MEMORY(at, name, type, suffix, bits)                                                 \
    HANDLER(name##_m##bits##_##at)                                                                 \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        uint64_t va = address_##at(cpu, insn);                                                     \
        void *place = operand_modify(cpu, insn, va, sizeof(type));                                 \
        if (likely(place)) {                                                                       \
            name##_memory##bits(place, &status);                                                   \
        } else {                                                                                   \
            type old = (type)operand_load_slow(cpu, insn, va, sizeof(type));                       \
            operand_store_slow(cpu, insn, va, sizeof(type), name##bits(old, &status));             \
        }                                                                                          \
        cpu->status = status;                                                                      \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_lock_m##bits##_##at)                                                            \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        uint64_t va = address_##at(cpu, insn);                                                     \
        void *place = operand_modify_locked(cpu, insn, va, sizeof(type));                          \
        if (likely(place)) {                                                                       \
            name##_lock##bits(place, &status);                                                     \
        } else {                                                                                   \
            type old, seen = (type)operand_load_slow(cpu, insn, va, sizeof(type));                 \
            do {                                                                                   \
                old = seen;                                                                        \
                status = cpu->status;                                                              \
                type result = name##bits(old, &status);                                            \
                seen =                                                                             \
                    (type)operand_compare_exchange_slow(cpu, insn, va, sizeof(type), old, result); \
            } while (seen != old);                                                                 \
        }                                                                                          \
        cpu->status = status;                                                                      \
        NEXT;                                                                                      \
    }
#define UNARY_HANDLERS_AT(at, name) SIZES(UNARY_MEMORY, at, name)
#define UNARY(name, ...)                                                                           \
    SIZES(DEFINE_UNARY, name, #name, __VA_ARGS__)                                                  \
    ADDRESSINGS(UNARY_HANDLERS_AT, name)

UNARY(inc, STATUS_ALL & ~STATUS_C)
UNARY(dec, STATUS_ALL & ~STATUS_C)
UNARY(not, 0u)
UNARY(neg, STATUS_ALL)

#define UNARY_AT(form, at)                                                                         \
    {                                                                                              \
        ROW_AT(inc_##form, at), ROW_AT(dec_##form, at), ROW_AT(not_##form, at),                    \
            ROW_AT(neg_##form, at)                                                                 \
    }

insn_handler *const unary_r[4][4] = {ROW(inc_r), ROW(dec_r), ROW(not_r), ROW(neg_r)};
insn_handler *const unary_m[3][4][4] = {UNARY_AT(m, general), UNARY_AT(m, plain),
                                        UNARY_AT(m, narrow)};
insn_handler *const unary_lock_m[3][4][4] = {UNARY_AT(lock_m, general), UNARY_AT(lock_m, plain),
                                             UNARY_AT(lock_m, narrow)};
