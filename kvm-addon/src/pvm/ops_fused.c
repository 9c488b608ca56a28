/*
 * Operations on flags with the conditional jump that follows, in one handler: most conditional
 * jumps occur so. The jump keeps its own decoded instruction and handler, as a jump target.
 */
#include "ops_fused.h"

#include "decode.h"
#include "ops_jump.h"

/* In 64-bit code and in 32-bit code. */
#define JUMP_IF(taken)                                                                             \
    do {                                                                                           \
        struct insn *jump_ = insn + 1;                                                             \
        if (taken)                                                                                 \
            JUMP_TO(jump_, jump_target(cpu, jump_));                                               \
        CONTINUE_AT(jump_ + 1);                                                                    \
    } while (0)

ALWAYS_INLINE uint64_t jump_target(const struct cpu *cpu, const struct insn *jump)
{
    uint64_t target = cpu->r[REG_PAGE] + (uint64_t)(int64_t)jump->relative;
    return cpu->compat ? (uint32_t)target : target;
}

/* The host's operation gives the condition as well as the flags to keep. */
#define FUSED(number, condition, mnemonic, name, compare, form, left, right, type, suffix, bits)   \
    HANDLER(name##_##form##bits##_##number)                                                        \
    {                                                                                              \
        type a = left, b = right;                                                                  \
        uint32_t status;                                                                           \
        bool taken;                                                                                \
        asm(compare suffix " %[b], %[a]" SAVE_STATUS                                               \
            : "=&a"(status), "=@cc" mnemonic(taken)                                                \
            : [a] "r"(a), [b] "r"(b));                                                             \
        cpu->status = status;                                                                      \
        JUMP_IF(taken);                                                                            \
    }
#define FUSED_RESULT(number, condition, mnemonic, name, form, right, type, suffix, bits)           \
    HANDLER(name##_##form##bits##_##number)                                                        \
    {                                                                                              \
        type a = OPERAND_RM(type), b = right;                                                      \
        uint32_t status;                                                                           \
        bool taken;                                                                                \
        asm(#name suffix " %[b], %[a]" SAVE_STATUS                                                 \
            : [a] "+&r"(a), "=&a"(status), "=@cc" mnemonic(taken)                                  \
            : [b] "r"(b));                                                                         \
        cpu->status = status;                                                                      \
        SET_REG(type, insn->rm, a);                                                                \
        JUMP_IF(taken);                                                                            \
    }
/* INC and DEC keep CF, which the condition may use. */
#define FUSED_STEP(number, condition, mnemonic, name, type, suffix, bits)                          \
    HANDLER(name##_r##bits##_##number)                                                             \
    {                                                                                              \
        type a = OPERAND_RM(type);                                                                 \
        uint32_t after, f = cpu->status;                                                           \
        asm(#name suffix " %[a]" SAVE_STATUS : [a] "+&r"(a), "=&a"(after) : : "cc");               \
        f = STATUS_CHANGED(f, after, STATUS_ALL & ~STATUS_C);                                      \
        cpu->status = (uint16_t)f;                                                                 \
        SET_REG(type, insn->rm, a);                                                                \
        JUMP_IF(condition);                                                                        \
    }

/* X(arguments..., type, assembler suffix, bits) */
#define FUSED_SIZES(X, ...)                                                                        \
    X(__VA_ARGS__, uint8_t, "b", 8)                                                                \
    X(__VA_ARGS__, uint32_t, "l", 32)                                                              \
    X(__VA_ARGS__, uint64_t, "q", 64)
#define OPERAND_RM(type) REG(type, insn->rm)
#define OPERAND_REG(type) REG(type, insn->reg)
#define OPERAND_IMMEDIATE(type) (type) insn->immediate
#define LOADED(at, bits) load##bits(cpu, insn, address_##at(cpu, insn))

#define REGISTER_FORMS(name, type, suffix, bits)                                                   \
    CONDITIONS(FUSED, name, #name, rr, OPERAND_RM(type), OPERAND_REG(type), type, suffix, bits)    \
    CONDITIONS(FUSED, name, #name, ri, OPERAND_RM(type), OPERAND_IMMEDIATE(type), type, suffix,    \
               bits)
#define MEMORY_FORMS(name, at, type, suffix, bits)                                                 \
    CONDITIONS(FUSED, name, #name, mi_##at, LOADED(at, bits), OPERAND_IMMEDIATE(type), type,       \
               suffix, bits)
#define LOAD_FORMS(at, type, suffix, bits)                                                         \
    CONDITIONS(FUSED, cmp, "cmp", rm_##at, OPERAND_REG(type), LOADED(at, bits), type, suffix,      \
               bits)                                                                               \
    CONDITIONS(FUSED, cmp, "cmp", mr_##at, LOADED(at, bits), OPERAND_REG(type), type, suffix, bits)
#define RESULT_FORMS(name, type, suffix, bits)                                                     \
    CONDITIONS(FUSED_RESULT, name, rr, OPERAND_REG(type), type, suffix, bits)                      \
    CONDITIONS(FUSED_RESULT, name, ri, OPERAND_IMMEDIATE(type), type, suffix, bits)
#define STEP_FORMS(name, type, suffix, bits) CONDITIONS(FUSED_STEP, name, type, suffix, bits)
FUSED_SIZES(REGISTER_FORMS, cmp)
FUSED_SIZES(REGISTER_FORMS, test)
FUSED_SIZES(MEMORY_FORMS, cmp, plain)
FUSED_SIZES(MEMORY_FORMS, cmp, general)
FUSED_SIZES(MEMORY_FORMS, test, plain)
FUSED_SIZES(MEMORY_FORMS, test, general)
FUSED_SIZES(LOAD_FORMS, plain)
FUSED_SIZES(LOAD_FORMS, general)
FUSED_SIZES(RESULT_FORMS, add)
FUSED_SIZES(RESULT_FORMS, or)
FUSED_SIZES(RESULT_FORMS, and)
FUSED_SIZES(RESULT_FORMS, sub)
FUSED_SIZES(STEP_FORMS, inc)
FUSED_SIZES(STEP_FORMS, dec)

struct fusion {
    insn_handler *const *operation; /* its place in the table of ops_alu.c or ops_unary.c */
    insn_handler *fused[16];        /* by condition */
};

/* Of alu_*, and of unary_r. */
enum { ADD = 0, OR = 1, AND = 4, SUB = 5, CMP = 7 };
enum { INC = 0, DEC = 1 };

#define NAME_FUSED(number, condition, mnemonic, prefix, bits) prefix##bits##_##number,
#define ROW_OF(table, prefix, bits)                                                                \
    {                                                                                              \
        &(table),                                                                                  \
        {                                                                                          \
            CONDITIONS(NAME_FUSED, prefix, bits)                                                   \
        }                                                                                          \
    }
#define FUSIONS(prefix, table)                                                                     \
    ROW_OF(table[0], prefix, 8), ROW_OF(table[2], prefix, 32), ROW_OF(table[3], prefix, 64)

static const struct fusion fusions[] = {
    FUSIONS(test_rr, test_rr),
    FUSIONS(cmp_ri, alu_ri[CMP]),
    FUSIONS(cmp_rr, alu_rr[CMP]),
    FUSIONS(test_ri, test_ri),
    FUSIONS(cmp_mi_plain, alu_mi[ADDRESSING_PLAIN][CMP]),
    FUSIONS(cmp_mi_general, alu_mi[ADDRESSING_GENERAL][CMP]),
    FUSIONS(test_mi_plain, test_mi[ADDRESSING_PLAIN]),
    FUSIONS(test_mi_general, test_mi[ADDRESSING_GENERAL]),
    FUSIONS(cmp_rm_plain, alu_rm[ADDRESSING_PLAIN][CMP]),
    FUSIONS(cmp_rm_general, alu_rm[ADDRESSING_GENERAL][CMP]),
    FUSIONS(cmp_mr_plain, alu_mr[ADDRESSING_PLAIN][CMP]),
    FUSIONS(cmp_mr_general, alu_mr[ADDRESSING_GENERAL][CMP]),
    FUSIONS(add_rr, alu_rr[ADD]),
    FUSIONS(add_ri, alu_ri[ADD]),
    FUSIONS(or_rr, alu_rr[OR]),
    FUSIONS(or_ri, alu_ri[OR]),
    FUSIONS(and_rr, alu_rr[AND]),
    FUSIONS(and_ri, alu_ri[AND]),
    FUSIONS(sub_rr, alu_rr[SUB]),
    FUSIONS(sub_ri, alu_ri[SUB]),
    FUSIONS(inc_r, unary_r[INC]),
    FUSIONS(dec_r, unary_r[DEC]),
};

static bool is_conditional_jump(const struct insn *insn, unsigned *condition)
{
    *condition = insn->reg & 15;
    return insn->handler == jump_conditional[0][*condition] ||
           insn->handler == jump_conditional[1][*condition];
}

static void fuse_jump(struct insn *first, unsigned condition)
{
    for (unsigned i = 0; i < sizeof(fusions) / sizeof(*fusions); i++) {
        if (first->handler == *fusions[i].operation) {
            first->handler = fusions[i].fused[condition];
            return;
        }
    }
}

void decode_fuse(struct insn *first, const struct insn *second)
{
    unsigned condition;
    if (is_conditional_jump(second, &condition))
        fuse_jump(first, condition);
    else if (!fuse_run(first, second))
        fuse_pair(first, second);
}
