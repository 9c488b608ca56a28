/*
 * BMI1 and BMI2 (VEX-encoded), ADX, CRC32, RDRAND, RDSEED. Each runs the host's own instruction:
 * the decoder lets none through that the host has not.
 */
#include "handlers.h"

#define NARROW_SIZES(X, ...)                                                                       \
    X(__VA_ARGS__, uint32_t, "l", 32)                                                              \
    X(__VA_ARGS__, uint64_t, "q", 64)
#define NARROW_ROW(name)                                                                           \
    {                                                                                              \
        name##32, name##64                                                                         \
    }
#define NARROW_ROWS_AT(name)                                                                       \
    {                                                                                              \
        {name##32_general, name##64_general}, {name##32_plain, name##64_plain},                    \
        {                                                                                          \
            name##32_narrow, name##64_narrow                                                       \
        }                                                                                          \
    }
/* The register that VEX.vvvv names. */
#define VEX_REG(type) REG(type, (uint8_t)insn->immediate)

/*
 * name##bits(cpu, insn, operand) for each; `operand` is ModRM.rm's. Of three register operands the
 * assembler wants them in the order that the second argument shows.
 */
#define DEFINE_FLAGS(name, operands, type, suffix, bits)                                           \
    ALWAYS_INLINE void name##bits(struct cpu *cpu, struct insn *insn, type operand)                \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type result;                                                                               \
        asm(LOAD_STATUS #name suffix operands ", %[result]" SAVE_STATUS                            \
            : [result] "=&r"(result), "+&a"(status)                                                \
            : [operand] "r"(operand), [vex] "r"(VEX_REG(type))                                     \
            : "cc");                                                                               \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->reg, result);                                                          \
    }
#define DEFINE_NO_FLAGS(name, operands, type, suffix, bits)                                        \
    ALWAYS_INLINE void name##bits(struct cpu *cpu, struct insn *insn, type operand)                \
    {                                                                                              \
        type result;                                                                               \
        asm(#name suffix operands ", %[result]"                                                    \
            : [result] "=r"(result)                                                                \
            : [operand] "r"(operand), [vex] "r"(VEX_REG(type)));                                   \
        SET_REG(type, insn->reg, result);                                                          \
    }
/* Group 17: the destination is VEX.vvvv. */
#define DEFINE_LOWEST(name, type, suffix, bits)                                                    \
    ALWAYS_INLINE void name##bits(struct cpu *cpu, struct insn *insn, type operand)                \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type result;                                                                               \
        asm(LOAD_STATUS #name suffix " %[operand], %[result]" SAVE_STATUS                          \
            : [result] "=&r"(result), "+&a"(status)                                                \
            : [operand] "r"(operand)                                                               \
            : "cc");                                                                               \
        cpu->status = status;                                                                      \
        SET_REG(type, (uint8_t)insn->immediate, result);                                           \
    }
NARROW_SIZES(DEFINE_FLAGS, andn, " %[operand], %[vex]")
NARROW_SIZES(DEFINE_FLAGS, bextr, " %[vex], %[operand]")
NARROW_SIZES(DEFINE_FLAGS, bzhi, " %[vex], %[operand]")
NARROW_SIZES(DEFINE_NO_FLAGS, pdep, " %[operand], %[vex]")
NARROW_SIZES(DEFINE_NO_FLAGS, pext, " %[operand], %[vex]")
NARROW_SIZES(DEFINE_NO_FLAGS, sarx, " %[vex], %[operand]")
NARROW_SIZES(DEFINE_NO_FLAGS, shlx, " %[vex], %[operand]")
NARROW_SIZES(DEFINE_NO_FLAGS, shrx, " %[vex], %[operand]")
NARROW_SIZES(DEFINE_LOWEST, blsr)
NARROW_SIZES(DEFINE_LOWEST, blsmsk)
NARROW_SIZES(DEFINE_LOWEST, blsi)

/* MULX: the low half first, so that the high one stays where both are the same register. */
ALWAYS_INLINE void mulx32(struct cpu *cpu, struct insn *insn, uint32_t operand)
{
    uint64_t product = (uint64_t)(uint32_t)cpu->r[REG_RDX] * operand;
    SET_REG(uint32_t, (uint8_t)insn->immediate, product);
    SET_REG(uint32_t, insn->reg, product >> 32);
}

ALWAYS_INLINE void mulx64(struct cpu *cpu, struct insn *insn, uint64_t operand)
{
    unsigned __int128 product = (unsigned __int128)cpu->r[REG_RDX] * operand;
    REG(uint64_t, (uint8_t)insn->immediate) = (uint64_t)product;
    REG(uint64_t, insn->reg) = (uint64_t)(product >> 64);
}

#define DEFINE_ROTATE(name, type, suffix, bits)                                                    \
    ALWAYS_INLINE void name##bits(struct cpu *cpu, struct insn *insn, type operand)                \
    {                                                                                              \
        unsigned count = (unsigned)insn->immediate & (bits - 1);                                   \
        type result = operand >> count | operand << (-count & (bits - 1));                         \
        SET_REG(type, insn->reg, result);                                                          \
    }
NARROW_SIZES(DEFINE_ROTATE, rorx)

#define DEFINE_ADX(name, type, suffix, bits)                                                       \
    ALWAYS_INLINE void name##bits(struct cpu *cpu, struct insn *insn, type operand)                \
    {                                                                                              \
        uint32_t status = cpu->status;                                                             \
        type result = REG(type, insn->reg);                                                        \
        asm(LOAD_STATUS #name suffix " %[operand], %[result]" SAVE_STATUS                          \
            : [result] "+&r"(result), "+&a"(status)                                                \
            : [operand] "r"(operand)                                                               \
            : "cc");                                                                               \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->reg, result);                                                          \
    }
NARROW_SIZES(DEFINE_ADX, adcx)
NARROW_SIZES(DEFINE_ADX, adox)

#define OPERAND_REGISTER(name, type, suffix, bits)                                                 \
    HANDLER(name##_rr##bits)                                                                       \
    {                                                                                              \
        name##bits(cpu, insn, REG(type, insn->rm));                                                \
        NEXT;                                                                                      \
    }
#define OPERAND_MEMORY(at, name, type, suffix, bits)                                               \
    HANDLER(name##_rm##bits##_##at)                                                                \
    {                                                                                              \
        type operand = load##bits(cpu, insn, address_##at(cpu, insn));                             \
        name##bits(cpu, insn, operand);                                                            \
        NEXT;                                                                                      \
    }
#define OPERAND_HANDLERS_AT(at, name) NARROW_SIZES(OPERAND_MEMORY, at, name)
#define OPERAND_HANDLERS(name)                                                                     \
    NARROW_SIZES(OPERAND_REGISTER, name)                                                           \
    ADDRESSINGS(OPERAND_HANDLERS_AT, name)

/* In the order of enum bmi_operation. */
#define BMI_OPERATIONS(X)                                                                          \
    X(andn)                                                                                        \
    X(bextr)                                                                                       \
    X(bzhi)                                                                                        \
    X(pdep)                                                                                        \
    X(pext)                                                                                        \
    X(sarx)                                                                                        \
    X(shlx)                                                                                        \
    X(shrx)                                                                                        \
    X(blsr)                                                                                        \
    X(blsmsk)                                                                                      \
    X(blsi)                                                                                        \
    X(mulx)                                                                                        \
    X(rorx)                                                                                        \
    X(adcx)                                                                                        \
    X(adox)
BMI_OPERATIONS(OPERAND_HANDLERS)
#define NAME_REGISTER(name) NARROW_ROW(name##_rr),
#define NAME_MEMORY(name) NARROW_ROWS_AT(name##_rm),
insn_handler *const bmi_rr[BMI_OPERATION_COUNT][2] = {BMI_OPERATIONS(NAME_REGISTER)};
insn_handler *const bmi_rm[BMI_OPERATION_COUNT][3][2] = {BMI_OPERATIONS(NAME_MEMORY)};

/* ---- CRC32: the destination is a 32-bit sum, zero-extended ---- */

#define DEFINE_CRC(name, type, suffix, bits)                                                       \
    ALWAYS_INLINE void name##bits(struct cpu *cpu, struct insn *insn, type operand)                \
    {                                                                                              \
        uint64_t sum = (uint32_t)REG(uint64_t, insn->reg);                                         \
        if (bits == 64)                                                                            \
            asm("crc32q %[operand], %[sum]" : [sum] "+r"(sum) : [operand] "r"((uint64_t)operand)); \
        else                                                                                       \
            asm("crc32" suffix " %[operand], %k[sum]" : [sum] "+r"(sum) : [operand] "r"(operand)); \
        REG(uint64_t, insn->reg) = sum;                                                            \
    }                                                                                              \
    OPERAND_REGISTER(name, type, suffix, bits)
#define CRC_HANDLERS_AT(at, name) SIZES(OPERAND_MEMORY, at, name)
SIZES(DEFINE_CRC, crc)
ADDRESSINGS(CRC_HANDLERS_AT, crc)
insn_handler *const crc32_rr[4] = ROW(crc_rr);
insn_handler *const crc32_rm[3][4] = ROWS_AT(crc_rm);

/* ---- RDRAND, RDSEED: all flags but CF are cleared ---- */

#define RANDOM(name, type, suffix, bits)                                                           \
    HANDLER(name##bits)                                                                            \
    {                                                                                              \
        type value;                                                                                \
        bool carry;                                                                                \
        asm volatile(#name " %[value]" : [value] "=r"(value), "=@ccc"(carry) : : "cc");            \
        cpu->status = carry ? STATUS_C : 0;                                                        \
        SET_REG(type, insn->rm, value);                                                            \
        NEXT;                                                                                      \
    }
WIDE_SIZES(RANDOM, rdrand)
WIDE_SIZES(RANDOM, rdseed)
insn_handler *const op_random[2][4] = {WIDE_ROW(rdrand), WIDE_ROW(rdseed)};
