/* MOV, MOVZX, MOVSX, XCHG of registers, LEA, CMOVcc, SETcc, BSWAP, MOVBE, conversions. */
#include "handlers.h"

/* ---- MOV ---- */

#define MOVE_REGISTER(name, type, suffix, bits)                                                    \
    HANDLER(name##_rr##bits)                                                                       \
    {                                                                                              \
        SET_REG(type, insn->rm, REG(type, insn->reg));                                             \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_ri##bits)                                                                       \
    {                                                                                              \
        SET_REG(type, insn->rm, insn->immediate);                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(exchange_rr##bits)                                                                     \
    {                                                                                              \
        type a = REG(type, insn->rm), b = REG(type, insn->reg);                                    \
        SET_REG(type, insn->rm, b);                                                                \
        SET_REG(type, insn->reg, a);                                                               \
        NEXT;                                                                                      \
    }
#define MOVE_MEMORY(at, name, type, suffix, bits)                                                  \
    HANDLER(name##_rm##bits##_##at)                                                                \
    {                                                                                              \
        type value = load##bits(cpu, insn, address_##at(cpu, insn));                               \
        SET_REG(type, insn->reg, value);                                                           \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_mr##bits##_##at)                                                                \
    {                                                                                              \
        store##bits(cpu, insn, address_##at(cpu, insn), REG(type, insn->reg));                     \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_mi##bits##_##at)                                                                \
    {                                                                                              \
        store##bits(cpu, insn, address_##at(cpu, insn), (type)insn->immediate);                    \
        NEXT;                                                                                      \
    }
#define MOVE_HANDLERS_AT(at, name) SIZES(MOVE_MEMORY, at, name)
SIZES(MOVE_REGISTER, move)
ADDRESSINGS(MOVE_HANDLERS_AT, move)

insn_handler *const move_rr[4] = ROW(move_rr);
insn_handler *const move_ri[4] = ROW(move_ri);
insn_handler *const move_rm[3][4] = ROWS_AT(move_rm);
insn_handler *const move_mr[3][4] = ROWS_AT(move_mr);
insn_handler *const move_mi[3][4] = ROWS_AT(move_mi);
insn_handler *const exchange_rr[4] = ROW(exchange_rr);

/* The accumulator, and an address of 64 bits in place of the immediate. */
#define MOVE_ABSOLUTE(name, type, suffix, bits)                                                    \
    HANDLER(name##_load##bits)                                                                     \
    {                                                                                              \
        uint64_t va = (uint64_t)insn->immediate + cpu->segment_base[insn->scale >> 4];             \
        type value = load##bits(cpu, insn, va);                                                    \
        SET_REG(type, REG_RAX * 8, value);                                                         \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_store##bits)                                                                    \
    {                                                                                              \
        uint64_t va = (uint64_t)insn->immediate + cpu->segment_base[insn->scale >> 4];             \
        store##bits(cpu, insn, va, REG(type, REG_RAX * 8));                                        \
        NEXT;                                                                                      \
    }
SIZES(MOVE_ABSOLUTE, absolute)
insn_handler *const move_absolute_address[2][4] = {ROW(absolute_load), ROW(absolute_store)};

/* ---- MOVZX, MOVSX, MOVSXD: from a narrower type to 16, 32 or 64 bits ---- */

#define EXTEND_REGISTER(name, from, bits, to, to_bits)                                             \
    HANDLER(name##_rr##to_bits)                                                                    \
    {                                                                                              \
        SET_REG(to, insn->reg, (to)REG(from, insn->rm));                                           \
        NEXT;                                                                                      \
    }
#define EXTEND_MEMORY(at, name, from, bits, to, to_bits)                                           \
    HANDLER(name##_rm##to_bits##_##at)                                                             \
    {                                                                                              \
        from value = (from)load##bits(cpu, insn, address_##at(cpu, insn));                         \
        SET_REG(to, insn->reg, (to)value);                                                         \
        NEXT;                                                                                      \
    }
#define EXTEND_TO(name, from, bits, to, to_bits)                                                   \
    EXTEND_REGISTER(name, from, bits, to, to_bits)                                                 \
    ADDRESSINGS(EXTEND_MEMORY, name, from, bits, to, to_bits)
#define EXTEND(name, from, bits, to)                                                               \
    EXTEND_TO(name, from, bits, to##16_t, 16)                                                      \
    EXTEND_TO(name, from, bits, to##32_t, 32)                                                      \
    EXTEND_TO(name, from, bits, to##64_t, 64)
EXTEND(zero_extend8, uint8_t, 8, uint)
EXTEND(zero_extend16, uint16_t, 16, uint)
EXTEND(sign_extend8, int8_t, 8, int)
EXTEND(sign_extend16, int16_t, 16, int)
EXTEND(sign_extend32, int32_t, 32, int)

insn_handler *const extend_rr[5][4] = {WIDE_ROW(zero_extend8_rr), WIDE_ROW(zero_extend16_rr),
                                       WIDE_ROW(sign_extend8_rr), WIDE_ROW(sign_extend16_rr),
                                       WIDE_ROW(sign_extend32_rr)};
insn_handler *const extend_rm[5][3][4] = {
    WIDE_ROWS_AT(zero_extend8_rm), WIDE_ROWS_AT(zero_extend16_rm), WIDE_ROWS_AT(sign_extend8_rm),
    WIDE_ROWS_AT(sign_extend16_rm), WIDE_ROWS_AT(sign_extend32_rm)};

/* ---- LEA: the decoder gives it no segment ---- */

#define LOAD_ADDRESS(at, name, type, suffix, bits)                                                 \
    HANDLER(name##bits##_##at)                                                                     \
    {                                                                                              \
        SET_REG(type, insn->reg, address_##at(cpu, insn));                                         \
        NEXT;                                                                                      \
    }
#define LOAD_ADDRESS_AT(at, name) WIDE_SIZES(LOAD_ADDRESS, at, name)
ADDRESSINGS(LOAD_ADDRESS_AT, lea)
insn_handler *const lea[3][4] = WIDE_ROWS_AT(lea);

/* ---- CMOVcc and SETcc ---- */

/* A false condition still loads its operand, and clears the upper half of a 32-bit register. */
#define CONDITIONAL_REGISTER(number, condition, type, suffix, bits)                                \
    HANDLER(cmov_##number##_rr##bits)                                                              \
    {                                                                                              \
        uint32_t f = cpu->status;                                                                  \
        type value = condition ? REG(type, insn->rm) : REG(type, insn->reg);                       \
        SET_REG(type, insn->reg, value);                                                           \
        NEXT;                                                                                      \
    }
#define CONDITIONAL_MEMORY(at, number, condition, type, suffix, bits)                              \
    HANDLER(cmov_##number##_rm##bits##_##at)                                                       \
    {                                                                                              \
        type loaded = load##bits(cpu, insn, address_##at(cpu, insn));                              \
        uint32_t f = cpu->status;                                                                  \
        type value = condition ? loaded : REG(type, insn->reg);                                    \
        SET_REG(type, insn->reg, value);                                                           \
        NEXT;                                                                                      \
    }
#define SET_MEMORY(at, number, condition)                                                          \
    HANDLER(set_##number##_m_##at)                                                                 \
    {                                                                                              \
        uint32_t f = cpu->status;                                                                  \
        store8(cpu, insn, address_##at(cpu, insn), condition ? 1 : 0);                             \
        NEXT;                                                                                      \
    }
#define CONDITIONAL_AT(at, number, condition) WIDE_SIZES(CONDITIONAL_MEMORY, at, number, condition)
#define CONDITIONAL(number, condition, mnemonic, ...)                                              \
    WIDE_SIZES(CONDITIONAL_REGISTER, number, condition)                                            \
    ADDRESSINGS(CONDITIONAL_AT, number, condition)                                                 \
    HANDLER(set_##number##_r)                                                                      \
    {                                                                                              \
        uint32_t f = cpu->status;                                                                  \
        REG(uint8_t, insn->rm) = condition ? 1 : 0;                                                \
        NEXT;                                                                                      \
    }                                                                                              \
    ADDRESSINGS(SET_MEMORY, number, condition)
CONDITIONS(CONDITIONAL, )

#define CMOV_ROW(number, ...) WIDE_ROW(cmov_##number##_rr),
#define CMOV_ROWS_AT(number, ...) WIDE_ROWS_AT(cmov_##number##_rm),
#define SET_ROW(number, ...) set_##number##_r,
#define SET_ROWS_AT(number, ...) EACH_AT(set_##number##_m),
insn_handler *const cmov_rr[16][4] = {CONDITIONS(CMOV_ROW, )};
insn_handler *const cmov_rm[16][3][4] = {CONDITIONS(CMOV_ROWS_AT, )};
insn_handler *const set_r[16] = {CONDITIONS(SET_ROW, )};
insn_handler *const set_m[16][3] = {CONDITIONS(SET_ROWS_AT, )};

/* ---- BSWAP, MOVBE ---- */

#define SWAP_REGISTER(name, type, suffix, bits)                                                    \
    HANDLER(name##_r##bits)                                                                        \
    {                                                                                              \
        SET_REG(type, insn->rm, __builtin_bswap##bits(REG(type, insn->rm)));                       \
        NEXT;                                                                                      \
    }
#define SWAP_MEMORY(at, name, type, suffix, bits)                                                  \
    HANDLER(name##_rm##bits##_##at)                                                                \
    {                                                                                              \
        type value = load##bits(cpu, insn, address_##at(cpu, insn));                               \
        SET_REG(type, insn->reg, __builtin_bswap##bits(value));                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_mr##bits##_##at)                                                                \
    {                                                                                              \
        type value = REG(type, insn->reg);                                                         \
        store##bits(cpu, insn, address_##at(cpu, insn), __builtin_bswap##bits(value));             \
        NEXT;                                                                                      \
    }
#define SWAP_HANDLERS_AT(at, name) WIDE_SIZES(SWAP_MEMORY, at, name)
SWAP_REGISTER(swap, uint32_t, "l", 32)
SWAP_REGISTER(swap, uint64_t, "q", 64)
ADDRESSINGS(SWAP_HANDLERS_AT, swap)

insn_handler *const swap_r[4] = {NULL, NULL, swap_r32, swap_r64};
insn_handler *const swap_rm[3][4] = WIDE_ROWS_AT(swap_rm);
insn_handler *const swap_mr[3][4] = WIDE_ROWS_AT(swap_mr);

/* ---- CBW, CWDE, CDQE; CWD, CDQ, CQO; XLAT ---- */

#define CONVERT(from, to, bits)                                                                    \
    HANDLER(convert##bits)                                                                         \
    {                                                                                              \
        SET_REG(u##to, REG_RAX * 8, (to)REG(from, REG_RAX * 8));                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(spread##bits)                                                                          \
    {                                                                                              \
        SET_REG(u##to, REG_RDX * 8, REG(to, REG_RAX * 8) < 0 ? -1 : 0);                            \
        NEXT;                                                                                      \
    }
CONVERT(int8_t, int16_t, 16)
CONVERT(int16_t, int32_t, 32)
CONVERT(int32_t, int64_t, 64)
insn_handler *const convert[4] = WIDE_ROW(convert);
insn_handler *const spread[4] = WIDE_ROW(spread);

#define TRANSLATE(at, name)                                                                        \
    HANDLER(name##_##at)                                                                           \
    {                                                                                              \
        /* The decoder makes RBX the base; AL is not among the indexes that it can name. */        \
        uint64_t va = address_##at(cpu, insn) + REG(uint8_t, REG_RAX * 8);                         \
        REG(uint8_t, REG_RAX * 8) = load8(cpu, insn, wrap_##at(va));                               \
        NEXT;                                                                                      \
    }
ADDRESSINGS(TRANSLATE, xlat)
insn_handler *const xlat[3] = EACH_AT(xlat);

HANDLER(nop_)
{
    NEXT;
}
insn_handler *const op_nop = nop_;
