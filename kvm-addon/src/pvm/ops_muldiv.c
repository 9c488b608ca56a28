/* MUL, IMUL, DIV, IDIV. */
#include "handlers.h"

/* ---- IMUL with two or three operands ---- */

#define DEFINE_MULTIPLY(name, type, suffix, bits)                                                  \
    ALWAYS_INLINE type name##bits(struct cpu *cpu, type to, type from)                             \
    {                                                                                              \
        uint32_t status;                                                                           \
        asm("imul" suffix " %[from], %[to]" SAVE_STATUS                                            \
            : [to] "+&r"(to), "=&a"(status)                                                        \
            : [from] "r"(from)                                                                     \
            : "cc");                                                                               \
        cpu->status = status;                                                                      \
        return to;                                                                                 \
    }                                                                                              \
    HANDLER(name##_rr##bits)                                                                       \
    {                                                                                              \
        type result = name##bits(cpu, REG(type, insn->reg), REG(type, insn->rm));                  \
        SET_REG(type, insn->reg, result);                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_rri##bits)                                                                      \
    {                                                                                              \
        type result = name##bits(cpu, REG(type, insn->rm), (type)insn->immediate);                 \
        SET_REG(type, insn->reg, result);                                                          \
        NEXT;                                                                                      \
    }
#define MULTIPLY_MEMORY(at, name, type, suffix, bits)                                              \
    HANDLER(name##_rm##bits##_##at)                                                                \
    {                                                                                              \
        type from = load##bits(cpu, insn, address_##at(cpu, insn));                                \
        type result = name##bits(cpu, REG(type, insn->reg), from);                                 \
        SET_REG(type, insn->reg, result);                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_rmi##bits##_##at)                                                               \
    {                                                                                              \
        type from = load##bits(cpu, insn, address_##at(cpu, insn));                                \
        type result = name##bits(cpu, from, (type)insn->immediate);                                \
        SET_REG(type, insn->reg, result);                                                          \
        NEXT;                                                                                      \
    }
#define MULTIPLY_HANDLERS_AT(at, name) WIDE_SIZES(MULTIPLY_MEMORY, at, name)
WIDE_SIZES(DEFINE_MULTIPLY, imul)
ADDRESSINGS(MULTIPLY_HANDLERS_AT, imul)

insn_handler *const imul_rr[4] = WIDE_ROW(imul_rr);
insn_handler *const imul_rri[4] = WIDE_ROW(imul_rri);
insn_handler *const imul_rm[3][4] = WIDE_ROWS_AT(imul_rm);
insn_handler *const imul_rmi[3][4] = WIDE_ROWS_AT(imul_rmi);

/* ---- one operand: rDX:rAX = rAX * operand ---- */

#define DEFINE_WIDENING(name, mnemonic, type, suffix, bits)                                        \
    ALWAYS_INLINE void name##bits(struct cpu *cpu, type from)                                      \
    {                                                                                              \
        uint64_t low = cpu->r[REG_RAX], high, product;                                             \
        asm(mnemonic suffix " %[from]\n\tmov %%rax, %[product]" SAVE_STATUS                        \
            : "+&a"(low), "=&d"(high), [product] "=&r"(product)                                    \
            : [from] "r"(from)                                                                     \
            : "cc");                                                                               \
        cpu->status = (uint16_t)low;                                                               \
        SET_REG(type, REG_RAX * 8, product);                                                       \
        SET_REG(type, REG_RDX * 8, high);                                                          \
    }
WIDE_SIZES(DEFINE_WIDENING, mul, "mul")
WIDE_SIZES(DEFINE_WIDENING, imul1_, "imul")

#define DEFINE_WIDENING_BYTE(name, mnemonic)                                                       \
    ALWAYS_INLINE void name##8(struct cpu * cpu, uint8_t from)                                     \
    {                                                                                              \
        uint64_t low = cpu->r[REG_RAX], product;                                                   \
        asm(mnemonic "b %[from]\n\tmov %%rax, %[product]" SAVE_STATUS                              \
            : "+&a"(low), [product] "=&r"(product)                                                 \
            : [from] "r"(from)                                                                     \
            : "cc");                                                                               \
        cpu->status = (uint16_t)low;                                                               \
        REG(uint16_t, REG_RAX * 8) = (uint16_t)product;                                            \
    }
DEFINE_WIDENING_BYTE(mul, "mul")
DEFINE_WIDENING_BYTE(imul1_, "imul")

#define WIDENING_REGISTER(name, type, suffix, bits)                                                \
    HANDLER(name##_r##bits)                                                                        \
    {                                                                                              \
        name##bits(cpu, REG(type, insn->rm));                                                      \
        NEXT;                                                                                      \
    }
#define WIDENING_MEMORY(at, name, type, suffix, bits)                                              \
    HANDLER(name##_m##bits##_##at)                                                                 \
    {                                                                                              \
        type from = load##bits(cpu, insn, address_##at(cpu, insn));                                \
        name##bits(cpu, from);                                                                     \
        NEXT;                                                                                      \
    }
#define WIDENING_HANDLERS_AT(at, name) SIZES(WIDENING_MEMORY, at, name)
#define WIDENING(name)                                                                             \
    SIZES(WIDENING_REGISTER, name)                                                                 \
    ADDRESSINGS(WIDENING_HANDLERS_AT, name)
WIDENING(mul)
WIDENING(imul1_)

/* ---- division: #DE for a divisor of 0 or a quotient that does not fit ---- */

static void divide8(struct cpu *cpu, struct insn *insn, uint64_t divisor)
{
    uint32_t dividend = REG(uint16_t, REG_RAX * 8);
    if (divisor == 0 || dividend / divisor > UINT8_MAX)
        cpu_raise(cpu, insn, VECTOR_DE);
    REG(uint16_t, REG_RAX * 8) = (uint16_t)(dividend % divisor << 8 | dividend / divisor);
}

static void divide16(struct cpu *cpu, struct insn *insn, uint64_t divisor)
{
    uint32_t dividend = (uint32_t)REG(uint16_t, REG_RDX * 8) << 16 | REG(uint16_t, REG_RAX * 8);
    if (divisor == 0 || dividend / divisor > UINT16_MAX)
        cpu_raise(cpu, insn, VECTOR_DE);
    REG(uint16_t, REG_RAX * 8) = (uint16_t)(dividend / divisor);
    REG(uint16_t, REG_RDX * 8) = (uint16_t)(dividend % divisor);
}

static void divide32(struct cpu *cpu, struct insn *insn, uint64_t divisor)
{
    uint64_t dividend = cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX];
    if (divisor == 0 || dividend / divisor > UINT32_MAX)
        cpu_raise(cpu, insn, VECTOR_DE);
    cpu->r[REG_RAX] = dividend / divisor;
    cpu->r[REG_RDX] = dividend % divisor;
}

static void divide64(struct cpu *cpu, struct insn *insn, uint64_t divisor)
{
    if (divisor == 0 || cpu->r[REG_RDX] >= divisor)
        cpu_raise(cpu, insn, VECTOR_DE);
    asm("divq %[divisor]"
        : "+a"(cpu->r[REG_RAX]), "+d"(cpu->r[REG_RDX])
        : [divisor] "r"(divisor)
        : "cc");
}

static void divide_signed8(struct cpu *cpu, struct insn *insn, int64_t divisor)
{
    int32_t dividend = REG(int16_t, REG_RAX * 8);
    if (divisor == 0 || dividend / divisor != (int8_t)(dividend / divisor))
        cpu_raise(cpu, insn, VECTOR_DE);
    REG(int8_t, REG_RAX * 8) = (int8_t)(dividend / divisor);
    REG(int8_t, REG_RAX * 8 + 1) = (int8_t)(dividend % divisor);
}

static void divide_signed16(struct cpu *cpu, struct insn *insn, int64_t divisor)
{
    int64_t dividend =
        (int32_t)((uint32_t)REG(uint16_t, REG_RDX * 8) << 16 | REG(uint16_t, REG_RAX * 8));
    if (divisor == 0 || dividend / divisor != (int16_t)(dividend / divisor))
        cpu_raise(cpu, insn, VECTOR_DE);
    REG(int16_t, REG_RAX * 8) = (int16_t)(dividend / divisor);
    REG(int16_t, REG_RDX * 8) = (int16_t)(dividend % divisor);
}

static void divide_signed(struct cpu *cpu, struct insn *insn, __int128 dividend, int64_t divisor,
                          unsigned bits)
{
    /* The one quotient that even __int128 does not hold. */
    bool overflows = divisor == -1 && dividend == (__int128)((unsigned __int128)1 << 127);
    if (divisor == 0 || overflows)
        cpu_raise(cpu, insn, VECTOR_DE);
    __int128 quotient = dividend / divisor;
    if (quotient != (bits == 64 ? (int64_t)quotient : (int32_t)quotient))
        cpu_raise(cpu, insn, VECTOR_DE);
    uint64_t mask = bits == 64 ? UINT64_MAX : UINT32_MAX;
    cpu->r[REG_RAX] = (uint64_t)quotient & mask;
    cpu->r[REG_RDX] = (uint64_t)(dividend % divisor) & mask;
}

static void divide_signed32(struct cpu *cpu, struct insn *insn, int64_t divisor)
{
    int64_t dividend = (int64_t)(cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX]);
    divide_signed(cpu, insn, dividend, divisor, 32);
}

static void divide_signed64(struct cpu *cpu, struct insn *insn, int64_t divisor)
{
    unsigned __int128 dividend =
        (unsigned __int128)cpu->r[REG_RDX] << 64 | (unsigned __int128)cpu->r[REG_RAX];
    divide_signed(cpu, insn, (__int128)dividend, divisor, 64);
}

#define DIVIDE_REGISTER(name, type, bits)                                                          \
    HANDLER(name##_r##bits)                                                                        \
    {                                                                                              \
        name##bits(cpu, insn, REG(type, insn->rm));                                                \
        NEXT;                                                                                      \
    }
#define DIVIDE_MEMORY(at, name, type, bits)                                                        \
    HANDLER(name##_m##bits##_##at)                                                                 \
    {                                                                                              \
        type divisor = (type)load##bits(cpu, insn, address_##at(cpu, insn));                       \
        name##bits(cpu, insn, divisor);                                                            \
        NEXT;                                                                                      \
    }
#define DIVIDE(name, type, bits)                                                                   \
    DIVIDE_REGISTER(name, type, bits)                                                              \
    ADDRESSINGS(DIVIDE_MEMORY, name, type, bits)
DIVIDE(divide, uint8_t, 8)
DIVIDE(divide, uint16_t, 16)
DIVIDE(divide, uint32_t, 32)
DIVIDE(divide, uint64_t, 64)
DIVIDE(divide_signed, int8_t, 8)
DIVIDE(divide_signed, int16_t, 16)
DIVIDE(divide_signed, int32_t, 32)
DIVIDE(divide_signed, int64_t, 64)

/* By ModRM.reg - 4. */
#define WIDENINGS_AT(at)                                                                           \
    {                                                                                              \
        ROW_AT(mul_m, at), ROW_AT(imul1__m, at), ROW_AT(divide_m, at), ROW_AT(divide_signed_m, at) \
    }
insn_handler *const muldiv_r[4][4] = {ROW(mul_r), ROW(imul1__r), ROW(divide_r),
                                      ROW(divide_signed_r)};
insn_handler *const muldiv_m[3][4][4] = {WIDENINGS_AT(general), WIDENINGS_AT(plain),
                                         WIDENINGS_AT(narrow)};
