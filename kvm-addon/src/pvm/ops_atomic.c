/* XCHG with memory, CMPXCHG, CMPXCHG8B, CMPXCHG16B, XADD. */
#include "access.h"
#include "handlers.h"

#define DEFINE_COMPARE_EXCHANGE(name, type, suffix, bits)                                          \
    /* Flags as CMP of the accumulator with what was there. */                                     \
    ALWAYS_INLINE bool name##_finish##bits(struct cpu *cpu, type old)                              \
    {                                                                                              \
        type accumulator = REG(type, REG_RAX * 8);                                                 \
        uint32_t status;                                                                           \
        asm("cmp" suffix " %[old], %[accumulator]" SAVE_STATUS                                     \
            : "=&a"(status)                                                                        \
            : [accumulator] "r"(accumulator), [old] "r"(old)                                       \
            : "cc");                                                                               \
        cpu->status = status;                                                                      \
        return accumulator == old;                                                                 \
    }                                                                                              \
    HANDLER(name##_rr##bits)                                                                       \
    {                                                                                              \
        type old = REG(type, insn->rm);                                                            \
        if (name##_finish##bits(cpu, old))                                                         \
            SET_REG(type, insn->rm, REG(type, insn->reg));                                         \
        else                                                                                       \
            SET_REG(type, REG_RAX * 8, old);                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(add_exchange_rr##bits)                                                                 \
    {                                                                                              \
        type old = REG(type, insn->rm), sum = old;                                                 \
        uint32_t status;                                                                           \
        asm("add" suffix " %[from], %[sum]" SAVE_STATUS                                            \
            : [sum] "+&r"(sum), "=&a"(status)                                                      \
            : [from] "r"(REG(type, insn->reg))                                                     \
            : "cc");                                                                               \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->reg, old);                                                             \
        SET_REG(type, insn->rm, sum);                                                              \
        NEXT;                                                                                      \
    }

#define COMPARE_EXCHANGE_MEMORY(at, name, lock, prefix, type, suffix, bits)                        \
    HANDLER(name##lock##mr##bits##_##at)                                                           \
    {                                                                                              \
        uint64_t va = address_##at(cpu, insn);                                                     \
        type old = REG(type, REG_RAX * 8), value = REG(type, insn->reg);                           \
        void *place = operand_modify_locked(cpu, insn, va, sizeof(type));                          \
        if (likely(place))                                                                         \
            asm volatile(prefix "cmpxchg" suffix " %[value], %[place]"                             \
                         : "+a"(old), [place] "+m"(*(volatile unaligned_##bits *)place)            \
                         : [value] "r"(value)                                                      \
                         : "cc", "memory");                                                        \
        else                                                                                       \
            old = (type)operand_compare_exchange_slow(cpu, insn, va, sizeof(type), old, value);    \
        if (!name##_finish##bits(cpu, old))                                                        \
            SET_REG(type, REG_RAX * 8, old);                                                       \
        NEXT;                                                                                      \
    }

#define EXCHANGE_MEMORY(at, name, type, suffix, bits)                                              \
    HANDLER(name##_mr##bits##_##at)                                                                \
    {                                                                                              \
        uint64_t va = address_##at(cpu, insn);                                                     \
        type value = REG(type, insn->reg);                                                         \
        void *place = operand_modify_locked(cpu, insn, va, sizeof(type));                          \
        if (likely(place))                                                                         \
            asm volatile("xchg" suffix " %[value], %[place]"                                       \
                         : [value] "+r"(value), [place] "+m"(*(volatile unaligned_##bits *)place)  \
                         :                                                                         \
                         : "memory");                                                              \
        else                                                                                       \
            value = (type)operand_exchange_slow(cpu, insn, va, sizeof(type), value);               \
        SET_REG(type, insn->reg, value);                                                           \
        NEXT;                                                                                      \
    }

#define ADD_EXCHANGE_MEMORY(at, name, lock, prefix, type, suffix, bits)                            \
    HANDLER(name##lock##mr##bits##_##at)                                                           \
    {                                                                                              \
        uint64_t va = address_##at(cpu, insn);                                                     \
        type from = REG(type, insn->reg), old;                                                     \
        uint32_t status;                                                                           \
        void *place = operand_modify_locked(cpu, insn, va, sizeof(type));                          \
        if (likely(place)) {                                                                       \
            old = from;                                                                            \
            asm volatile(prefix "xadd" suffix " %[old], %[place]" SAVE_STATUS                      \
                         : [old] "+&r"(old),                                                       \
                           "=&a"(status), [place] "+m"(*(volatile unaligned_##bits *)place)        \
                         :                                                                         \
                         : "cc", "memory");                                                        \
        } else {                                                                                   \
            type sum, seen = (type)operand_load_slow(cpu, insn, va, sizeof(type));                 \
            do {                                                                                   \
                old = sum = seen;                                                                  \
                asm("add" suffix " %[from], %[sum]" SAVE_STATUS                                    \
                    : [sum] "+&r"(sum), "=&a"(status)                                              \
                    : [from] "r"(from)                                                             \
                    : "cc");                                                                       \
                seen = (type)operand_compare_exchange_slow(cpu, insn, va, sizeof(type), old, sum); \
            } while (seen != old);                                                                 \
        }                                                                                          \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->reg, old);                                                             \
        NEXT;                                                                                      \
    }

#define ATOMIC_HANDLERS_AT(at, ...)                                                                \
    SIZES(COMPARE_EXCHANGE_MEMORY, at, compare_exchange, _, "")                                    \
    SIZES(COMPARE_EXCHANGE_MEMORY, at, compare_exchange, _lock_, "lock; ")                         \
    SIZES(ADD_EXCHANGE_MEMORY, at, add_exchange, _, "")                                            \
    SIZES(ADD_EXCHANGE_MEMORY, at, add_exchange, _lock_, "lock; ")                                 \
    SIZES(EXCHANGE_MEMORY, at, exchange)
SIZES(DEFINE_COMPARE_EXCHANGE, compare_exchange)
ADDRESSINGS(ATOMIC_HANDLERS_AT, )

insn_handler *const compare_exchange_rr[4] = ROW(compare_exchange_rr);
insn_handler *const compare_exchange_mr[3][4] = ROWS_AT(compare_exchange_mr);
insn_handler *const compare_exchange_lock_mr[3][4] = ROWS_AT(compare_exchange_lock_mr);
insn_handler *const add_exchange_rr[4] = ROW(add_exchange_rr);
insn_handler *const add_exchange_mr[3][4] = ROWS_AT(add_exchange_mr);
insn_handler *const add_exchange_lock_mr[3][4] = ROWS_AT(add_exchange_lock_mr);
insn_handler *const exchange_mr[3][4] = ROWS_AT(exchange_mr);

/* ---- CMPXCHG8B and CMPXCHG16B: always locked, they are rare without ---- */

/* By value: a handler with variables whose address is taken would not end with a tail call. */
struct pair {
    bool equal;
    uint64_t low;
    uint64_t high;
};

static __attribute__((noinline)) struct pair compare_exchange16_slow(struct cpu *cpu,
                                                                     struct insn *insn, uint64_t va)
{
    uint64_t old[2] = {cpu->r[REG_RAX], cpu->r[REG_RDX]};
    const uint64_t value[2] = {cpu->r[REG_RBX], cpu->r[REG_RCX]};
    bool equal = access_compare_exchange_16(cpu, insn, va, old, value);
    return (struct pair){equal, old[0], old[1]};
}

#define EXCHANGE_PAIRS(at, ...)                                                                    \
    HANDLER(compare_exchange8_##at)                                                                \
    {                                                                                              \
        uint64_t va = address_##at(cpu, insn);                                                     \
        uint64_t expected = cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX], old = expected;     \
        uint64_t value = cpu->r[REG_RCX] << 32 | (uint32_t)cpu->r[REG_RBX];                        \
        void *place = operand_modify_locked(cpu, insn, va, 8);                                     \
        if (likely(place))                                                                         \
            asm volatile("lock; cmpxchgq %[value], %[place]"                                       \
                         : "+a"(old), [place] "+m"(*(volatile unaligned_64 *)place)                \
                         : [value] "r"(value)                                                      \
                         : "cc", "memory");                                                        \
        else                                                                                       \
            old = operand_compare_exchange_slow(cpu, insn, va, 8, expected, value);                \
        cpu->status &= ~STATUS_Z;                                                                  \
        if (old == expected) {                                                                     \
            cpu->status |= STATUS_Z;                                                               \
        } else {                                                                                   \
            cpu->r[REG_RAX] = (uint32_t)old;                                                       \
            cpu->r[REG_RDX] = old >> 32;                                                           \
        }                                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(compare_exchange16_##at)                                                               \
    {                                                                                              \
        uint64_t va = address_##at(cpu, insn);                                                     \
        uint64_t low = cpu->r[REG_RAX], high = cpu->r[REG_RDX];                                    \
        if (va & 15)                                                                               \
            cpu_raise_error(cpu, insn, VECTOR_GP, 0);                                              \
        void *place = operand_modify(cpu, insn, va, 8);                                            \
        bool equal;                                                                                \
        if (likely(place)) {                                                                       \
            asm volatile("lock; cmpxchg16b %[place]"                                               \
                         : "=@ccz"(equal), [place] "+m"(*(volatile __int128 *)place), "+a"(low),   \
                           "+d"(high)                                                              \
                         : "b"(cpu->r[REG_RBX]), "c"(cpu->r[REG_RCX])                              \
                         : "memory");                                                              \
        } else {                                                                                   \
            struct pair pair = compare_exchange16_slow(cpu, insn, va);                             \
            equal = pair.equal;                                                                    \
            low = pair.low;                                                                        \
            high = pair.high;                                                                      \
        }                                                                                          \
        cpu->status &= ~STATUS_Z;                                                                  \
        if (equal) {                                                                               \
            cpu->status |= STATUS_Z;                                                               \
        } else {                                                                                   \
            cpu->r[REG_RAX] = low;                                                                 \
            cpu->r[REG_RDX] = high;                                                                \
        }                                                                                          \
        NEXT;                                                                                      \
    }

ADDRESSINGS(EXCHANGE_PAIRS, )
insn_handler *const compare_exchange_pair[2][3] = {EACH_AT(compare_exchange8),
                                                   EACH_AT(compare_exchange16)};
