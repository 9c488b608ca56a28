/* BT, BTS, BTR, BTC; BSF, BSR, TZCNT, LZCNT, POPCNT. */
#include "handlers.h"

/* ---- BT and its kin: CF is the bit; the other flags stay ---- */

#define SET_CARRY(status, carry) (((status) & ~STATUS_C) | (carry ? STATUS_C : 0))

#define DEFINE_BIT_TEST(name, type, suffix, bits)                                                  \
    ALWAYS_INLINE type name##bits(type value, type bit, uint32_t *status)                          \
    {                                                                                              \
        bool carry;                                                                                \
        asm(#name suffix " %[bit], %[value]"                                                       \
            : [value] "+r"(value), "=@ccc"(carry)                                                  \
            : [bit] "r"(bit));                                                                     \
        *status = SET_CARRY(*status, carry);                                                       \
        return value;                                                                              \
    }
#define DEFINE_BIT_CHANGE(name, type, suffix, bits)                                                \
    DEFINE_BIT_TEST(name, type, suffix, bits)                                                      \
    /* `bit` lies in the operand, so that no other memory is reached. */                           \
    ALWAYS_INLINE void name##_memory##bits(void *place, type bit, uint32_t *status)                \
    {                                                                                              \
        bool carry;                                                                                \
        asm volatile(#name suffix " %[bit], %[value]"                                              \
                     : [value] "+m"(*(volatile unaligned_##bits *)place), "=@ccc"(carry)           \
                     : [bit] "r"(bit)                                                              \
                     : "memory");                                                                  \
        *status = SET_CARRY(*status, carry);                                                       \
    }                                                                                              \
    ALWAYS_INLINE void name##_lock##bits(void *place, type bit, uint32_t *status)                  \
    {                                                                                              \
        bool carry;                                                                                \
        asm volatile("lock; " #name suffix " %[bit], %[value]"                                     \
                     : [value] "+m"(*(volatile unaligned_##bits *)place), "=@ccc"(carry)           \
                     : [bit] "r"(bit)                                                              \
                     : "memory");                                                                  \
        *status = SET_CARRY(*status, carry);                                                       \
    }
WIDE_SIZES(DEFINE_BIT_TEST, bt)
WIDE_SIZES(DEFINE_BIT_CHANGE, bts)
WIDE_SIZES(DEFINE_BIT_CHANGE, btr)
WIDE_SIZES(DEFINE_BIT_CHANGE, btc)

#define BIT_REGISTER(name, form, operand, type, bits)                                              \
    HANDLER(name##_##form##bits)                                                                   \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type result = name##bits(REG(type, insn->rm), operand, &status);                           \
        cpu->status = status;                                                                      \
        if (sizeof(#name) != sizeof("bt"))                                                         \
            SET_REG(type, insn->rm, result);                                                       \
        NEXT;                                                                                      \
    }
#define BIT_REGISTERS(name, type, suffix, bits)                                                    \
    BIT_REGISTER(name, rr, REG(type, insn->reg), type, bits)                                       \
    BIT_REGISTER(name, ri, (type)insn->immediate, type, bits)

/* A register's bit number reaches from the operand both ways (SDM 2A 3.1.1.9). */
#define BIT_PLACE(at, type, bits)                                                                  \
    wrap_##at(address_##at(cpu, insn) +                                                            \
              (uint64_t)((int64_t)REG(signed_##bits, insn->reg) >> (bits == 64   ? 6               \
                                                                    : bits == 32 ? 5               \
                                                                                 : 4)) *           \
                  sizeof(type))
typedef int16_t signed_16;
typedef int32_t signed_32;
typedef int64_t signed_64;

#define BIT_LOAD(at, name, form, place_, operand, type, bits)                                      \
    HANDLER(name##_##form##bits##_##at)                                                            \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type value = load##bits(cpu, insn, place_);                                                \
        name##bits(value, (operand) & (bits - 1), &status);                                        \
        cpu->status = status;                                                                      \
        NEXT;                                                                                      \
    }
#define BIT_MODIFY(at, name, form, place_, operand, type, bits)                                    \
    HANDLER(name##_##form##bits##_##at)                                                            \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        uint64_t va = place_;                                                                      \
        type bit = (operand) & (bits - 1);                                                         \
        void *place = operand_modify(cpu, insn, va, sizeof(type));                                 \
        if (likely(place)) {                                                                       \
            name##_memory##bits(place, bit, &status);                                              \
        } else {                                                                                   \
            type old = (type)operand_load_slow(cpu, insn, va, sizeof(type));                       \
            operand_store_slow(cpu, insn, va, sizeof(type), name##bits(old, bit, &status));        \
        }                                                                                          \
        cpu->status = status;                                                                      \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_lock_##form##bits##_##at)                                                       \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        uint64_t va = place_;                                                                      \
        type bit = (operand) & (bits - 1);                                                         \
        void *place = operand_modify_locked(cpu, insn, va, sizeof(type));                          \
        if (likely(place)) {                                                                       \
            name##_lock##bits(place, bit, &status);                                                \
        } else {                                                                                   \
            type old, seen = (type)operand_load_slow(cpu, insn, va, sizeof(type));                 \
            do {                                                                                   \
                old = seen;                                                                        \
                status = cpu->status;                                                              \
                type result = name##bits(old, bit, &status);                                       \
                seen =                                                                             \
                    (type)operand_compare_exchange_slow(cpu, insn, va, sizeof(type), old, result); \
            } while (seen != old);                                                                 \
        }                                                                                          \
        cpu->status = status;                                                                      \
        NEXT;                                                                                      \
    }
#define BIT_MEMORY(at, X, name, type, suffix, bits)                                                \
    X(at, name, mr, BIT_PLACE(at, type, bits), REG(type, insn->reg), type, bits)                   \
    X(at, name, mi, address_##at(cpu, insn), (type)insn->immediate, type, bits)
#define BIT_HANDLERS_AT(at, X, name) WIDE_SIZES(BIT_MEMORY, at, X, name)
#define BIT(X, name)                                                                               \
    WIDE_SIZES(BIT_REGISTERS, name)                                                                \
    ADDRESSINGS(BIT_HANDLERS_AT, X, name)
BIT(BIT_LOAD, bt)
BIT(BIT_MODIFY, bts)
BIT(BIT_MODIFY, btr)
BIT(BIT_MODIFY, btc)

insn_handler *const bit_rr[4][4] = {WIDE_ROW(bt_rr), WIDE_ROW(bts_rr), WIDE_ROW(btr_rr),
                                    WIDE_ROW(btc_rr)};
insn_handler *const bit_ri[4][4] = {WIDE_ROW(bt_ri), WIDE_ROW(bts_ri), WIDE_ROW(btr_ri),
                                    WIDE_ROW(btc_ri)};
insn_handler *const bit_mr[4][3][4] = {WIDE_ROWS_AT(bt_mr), WIDE_ROWS_AT(bts_mr),
                                       WIDE_ROWS_AT(btr_mr), WIDE_ROWS_AT(btc_mr)};
insn_handler *const bit_mi[4][3][4] = {WIDE_ROWS_AT(bt_mi), WIDE_ROWS_AT(bts_mi),
                                       WIDE_ROWS_AT(btr_mi), WIDE_ROWS_AT(btc_mi)};
insn_handler *const bit_lock_mr[4][3][4] = {
    {{NULL}}, WIDE_ROWS_AT(bts_lock_mr), WIDE_ROWS_AT(btr_lock_mr), WIDE_ROWS_AT(btc_lock_mr)};
insn_handler *const bit_lock_mi[4][3][4] = {
    {{NULL}}, WIDE_ROWS_AT(bts_lock_mi), WIDE_ROWS_AT(btr_lock_mi), WIDE_ROWS_AT(btc_lock_mi)};

/* ---- counts and searches ---- */

/*
 * BSF and BSR of 0 leave the whole destination alone, its upper half included, on AMD by the
 * manual, on Intel in fact.
 */
#define DEFINE_SCAN(name, keeps, type, suffix, bits)                                               \
    ALWAYS_INLINE void name##bits(struct cpu *cpu, struct insn *insn, type from)                   \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type to = REG(type, insn->reg);                                                            \
        asm(LOAD_STATUS #name suffix " %[from], %[to]" SAVE_STATUS                                 \
            : [to] "+&r"(to), "+&a"(status)                                                        \
            : [from] "r"(from)                                                                     \
            : "cc");                                                                               \
        cpu->status = status;                                                                      \
        if (!keeps || from != 0)                                                                   \
            SET_REG(type, insn->reg, to);                                                          \
    }                                                                                              \
    HANDLER(name##_rr##bits)                                                                       \
    {                                                                                              \
        name##bits(cpu, insn, REG(type, insn->rm));                                                \
        NEXT;                                                                                      \
    }
#define SCAN_MEMORY(at, name, type, suffix, bits)                                                  \
    HANDLER(name##_rm##bits##_##at)                                                                \
    {                                                                                              \
        type from = load##bits(cpu, insn, address_##at(cpu, insn));                                \
        name##bits(cpu, insn, from);                                                               \
        NEXT;                                                                                      \
    }
#define SCAN_HANDLERS_AT(at, name) WIDE_SIZES(SCAN_MEMORY, at, name)
#define SCAN(name, keeps)                                                                          \
    WIDE_SIZES(DEFINE_SCAN, name, keeps)                                                           \
    ADDRESSINGS(SCAN_HANDLERS_AT, name)
SCAN(bsf, true)
SCAN(bsr, true)
SCAN(tzcnt, false)
SCAN(lzcnt, false)
SCAN(popcnt, false)

insn_handler *const scan_rr[5][4] = {WIDE_ROW(bsf_rr), WIDE_ROW(bsr_rr), WIDE_ROW(tzcnt_rr),
                                     WIDE_ROW(lzcnt_rr), WIDE_ROW(popcnt_rr)};
insn_handler *const scan_rm[5][3][4] = {WIDE_ROWS_AT(bsf_rm), WIDE_ROWS_AT(bsr_rm),
                                        WIDE_ROWS_AT(tzcnt_rm), WIDE_ROWS_AT(lzcnt_rm),
                                        WIDE_ROWS_AT(popcnt_rm)};
