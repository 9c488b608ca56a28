/*
 * CMP and TEST with the conditional jump that follows, in one handler: half of all jumps. The jump
 * keeps its own place and handler, for whoever jumps to it.
 */
#include "interpret.h"
#include "ops_jump.h"

/* The host's comparison gives the condition as well as the flags to keep. */
#define FUSED(number, condition, mnemonic, name, compare, form, left, right, type, suffix, bits)   \
    HANDLER(name##_##form##bits##_##number)                                                        \
    {                                                                                              \
        struct insn *jump = insn + 1;                                                              \
        type a = left, b = right;                                                                  \
        uint32_t status;                                                                           \
        bool taken;                                                                                \
        asm(compare suffix " %[b], %[a]" SAVE_STATUS                                               \
            : "=&a"(status), "=@cc" mnemonic(taken)                                                \
            : [a] "r"(a), [b] "r"(b));                                                             \
        cpu->status = status;                                                                      \
        if (taken)                                                                                 \
            JUMP_RELATIVE(jump, uint64_t);                                                         \
        CONTINUE_AT(jump + 1);                                                                     \
    }

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
FUSED_SIZES(REGISTER_FORMS, cmp)
FUSED_SIZES(REGISTER_FORMS, test)
FUSED_SIZES(MEMORY_FORMS, cmp, plain)
FUSED_SIZES(MEMORY_FORMS, cmp, general)
FUSED_SIZES(MEMORY_FORMS, test, plain)
FUSED_SIZES(MEMORY_FORMS, test, general)
FUSED_SIZES(LOAD_FORMS, plain)
FUSED_SIZES(LOAD_FORMS, general)

struct fusion {
    insn_handler *const *comparison; /* its place in the table of ops_alu.c */
    insn_handler *fused[16];         /* by condition */
};

#define CMP 7
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
};

void decode_fuse(struct insn *first, const struct insn *second)
{
    unsigned condition = second->reg & 15;
    if (second->handler != jump_conditional[0][condition])
        return;
    for (unsigned i = 0; i < sizeof(fusions) / sizeof(*fusions); i++) {
        if (first->handler == *fusions[i].comparison) {
            first->handler = fusions[i].fused[condition];
            return;
        }
    }
}
