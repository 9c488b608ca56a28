/* Rotations and shifts, by an immediate count or by CL, and the double shifts. */
#include "handlers.h"

/* A count of 0 changes no flag. `mask`: those that others change. */
#define COUNT_MASK(bits) (bits == 64 ? 63 : 31)
#define DEFINE_SHIFT(name, mnemonic, mask, type, suffix, bits)                                     \
    ALWAYS_INLINE type name##bits(type value, uint8_t count, uint32_t *status)                     \
    {                                                                                              \
        uint32_t after;                                                                            \
        if ((count & COUNT_MASK(bits)) == 0)                                                       \
            return value;                                                                          \
        asm(mnemonic suffix " %%cl, %[value]" SAVE_STATUS                                          \
            : [value] "+&r"(value), "=&a"(after)                                                   \
            : "c"(count)                                                                           \
            : "cc");                                                                               \
        *status = STATUS_CHANGED(*status, after, mask);                                            \
        return value;                                                                              \
    }
/* RCL and RCR: through CF. */
#define DEFINE_CARRY_ROTATION(name, mnemonic, mask, type, suffix, bits)                            \
    ALWAYS_INLINE type name##bits(type value, uint8_t count, uint32_t *status)                     \
    {                                                                                              \
        asm(LOAD_STATUS mnemonic suffix " %%cl, %[value]" SAVE_STATUS                              \
            : [value] "+&r"(value), "+&a"(*status)                                                 \
            : "c"(count)                                                                           \
            : "cc");                                                                               \
        return value;                                                                              \
    }

#define SHIFT_REGISTER(name, form, count, type, bits)                                              \
    HANDLER(name##_##form##bits)                                                                   \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type result = name##bits(REG(type, insn->rm), count, &status);                             \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->rm, result);                                                           \
        NEXT;                                                                                      \
    }
#define SHIFT_MODIFY(at, name, form, count, type, bits)                                            \
    HANDLER(name##_##form##bits##_##at)                                                            \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        uint64_t va = address_##at(cpu, insn);                                                     \
        unaligned_##bits *place = operand_modify(cpu, insn, va, sizeof(type));                     \
        if (likely(place)) {                                                                       \
            *(volatile unaligned_##bits *)place =                                                  \
                name##bits(*(volatile unaligned_##bits *)place, count, &status);                   \
        } else {                                                                                   \
            type old = (type)operand_load_slow(cpu, insn, va, sizeof(type));                       \
            operand_store_slow(cpu, insn, va, sizeof(type), name##bits(old, count, &status));      \
        }                                                                                          \
        cpu->status = status;                                                                      \
        NEXT;                                                                                      \
    }

#define SHIFT_REGISTERS(name, type, suffix, bits)                                                  \
    SHIFT_REGISTER(name, ri, (uint8_t)insn->immediate, type, bits)                                 \
    SHIFT_REGISTER(name, rc, REG(uint8_t, REG_RCX * 8), type, bits)
#define SHIFT_MEMORY(at, name, type, suffix, bits)                                                 \
    SHIFT_MODIFY(at, name, mi, (uint8_t)insn->immediate, type, bits)                               \
    SHIFT_MODIFY(at, name, mc, REG(uint8_t, REG_RCX * 8), type, bits)
#define SHIFT_HANDLERS_AT(at, name) SIZES(SHIFT_MEMORY, at, name)
#define SHIFT(name, DEFINE, mask)                                                                  \
    SIZES(DEFINE, name, #name, mask)                                                               \
    SIZES(SHIFT_REGISTERS, name)                                                                   \
    ADDRESSINGS(SHIFT_HANDLERS_AT, name)

SHIFT(rol, DEFINE_SHIFT, STATUS_C | STATUS_O)
SHIFT(ror, DEFINE_SHIFT, STATUS_C | STATUS_O)
SHIFT(rcl, DEFINE_CARRY_ROTATION, )
SHIFT(rcr, DEFINE_CARRY_ROTATION, )
SHIFT(shl, DEFINE_SHIFT, STATUS_ALL)
SHIFT(shr, DEFINE_SHIFT, STATUS_ALL)
SHIFT(sar, DEFINE_SHIFT, STATUS_ALL)

/* /6 is another SHL (APM 3, "SAL"). */
#define SHIFTS(form)                                                                               \
    {                                                                                              \
        ROW(rol_##form), ROW(ror_##form), ROW(rcl_##form), ROW(rcr_##form), ROW(shl_##form),       \
            ROW(shr_##form), ROW(shl_##form), ROW(sar_##form)                                      \
    }
#define SHIFTS_AT(form, at)                                                                        \
    {                                                                                              \
        ROW_AT(rol_##form, at), ROW_AT(ror_##form, at), ROW_AT(rcl_##form, at),                    \
            ROW_AT(rcr_##form, at), ROW_AT(shl_##form, at), ROW_AT(shr_##form, at),                \
            ROW_AT(shl_##form, at), ROW_AT(sar_##form, at)                                         \
    }

insn_handler *const shift_ri[8][4] = SHIFTS(ri);
insn_handler *const shift_rc[8][4] = SHIFTS(rc);
insn_handler *const shift_mi[3][8][4] = {SHIFTS_AT(mi, general), SHIFTS_AT(mi, plain),
                                         SHIFTS_AT(mi, narrow)};
insn_handler *const shift_mc[3][8][4] = {SHIFTS_AT(mc, general), SHIFTS_AT(mc, plain),
                                         SHIFTS_AT(mc, narrow)};

/* ---- SHLD and SHRD ---- */

#define DEFINE_DOUBLE(name, mnemonic, type, suffix, bits)                                          \
    ALWAYS_INLINE type name##bits(type value, type from, uint8_t count, uint32_t *status)          \
    {                                                                                              \
        uint32_t after;                                                                            \
        if ((count & COUNT_MASK(bits)) == 0)                                                       \
            return value;                                                                          \
        asm(mnemonic suffix " %%cl, %[from], %[value]" SAVE_STATUS                                 \
            : [value] "+&r"(value), "=&a"(after)                                                   \
            : "c"(count), [from] "r"(from)                                                         \
            : "cc");                                                                               \
        *status = after;                                                                           \
        return value;                                                                              \
    }
#define DOUBLE_REGISTER(name, form, count, type, bits)                                             \
    HANDLER(name##_##form##bits)                                                                   \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type result = name##bits(REG(type, insn->rm), REG(type, insn->reg), count, &status);       \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->rm, result);                                                           \
        NEXT;                                                                                      \
    }
#define DOUBLE_MODIFY(at, name, form, count, type, bits)                                           \
    HANDLER(name##_##form##bits##_##at)                                                            \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        uint64_t va = address_##at(cpu, insn);                                                     \
        type from = REG(type, insn->reg);                                                          \
        unaligned_##bits *place = operand_modify(cpu, insn, va, sizeof(type));                     \
        if (likely(place)) {                                                                       \
            *(volatile unaligned_##bits *)place =                                                  \
                name##bits(*(volatile unaligned_##bits *)place, from, count, &status);             \
        } else {                                                                                   \
            type old = (type)operand_load_slow(cpu, insn, va, sizeof(type));                       \
            operand_store_slow(cpu, insn, va, sizeof(type),                                        \
                               name##bits(old, from, count, &status));                             \
        }                                                                                          \
        cpu->status = status;                                                                      \
        NEXT;                                                                                      \
    }
#define DOUBLE_REGISTERS(name, type, suffix, bits)                                                 \
    DOUBLE_REGISTER(name, ri, (uint8_t)insn->immediate, type, bits)                                \
    DOUBLE_REGISTER(name, rc, REG(uint8_t, REG_RCX * 8), type, bits)
#define DOUBLE_MEMORY(at, name, type, suffix, bits)                                                \
    DOUBLE_MODIFY(at, name, mi, (uint8_t)insn->immediate, type, bits)                              \
    DOUBLE_MODIFY(at, name, mc, REG(uint8_t, REG_RCX * 8), type, bits)
#define DOUBLE_HANDLERS_AT(at, name) WIDE_SIZES(DOUBLE_MEMORY, at, name)
#define DOUBLE(name)                                                                               \
    WIDE_SIZES(DEFINE_DOUBLE, name, #name)                                                         \
    WIDE_SIZES(DOUBLE_REGISTERS, name)                                                             \
    ADDRESSINGS(DOUBLE_HANDLERS_AT, name)

DOUBLE(shld)
DOUBLE(shrd)

insn_handler *const double_ri[2][4] = {WIDE_ROW(shld_ri), WIDE_ROW(shrd_ri)};
insn_handler *const double_rc[2][4] = {WIDE_ROW(shld_rc), WIDE_ROW(shrd_rc)};
insn_handler *const double_mi[2][3][4] = {WIDE_ROWS_AT(shld_mi), WIDE_ROWS_AT(shrd_mi)};
insn_handler *const double_mc[2][3][4] = {WIDE_ROWS_AT(shld_mc), WIDE_ROWS_AT(shrd_mc)};
