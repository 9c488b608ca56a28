#include "translate_operation.h"

#include <pthread.h>

#include "decode.h"
#include "ops.h"
#include "translate_host.h"

/*
 * A table of ops.h: [numbers][addressings][sizes], or with the first two in the other order; 1 for
 * a dimension that it does not have. The sizes are from `smallest` on.
 */
struct handlers {
    insn_handler *const *table;
    uint8_t kind;
    uint8_t numbers;
    uint8_t addressings;
    uint8_t sizes;
    bool addressing_first;
    uint8_t smallest;
};

#define FLAT(kind, table, numbers, sizes)                                                          \
    {                                                                                              \
        (insn_handler *const *)(table), OPERATION_##kind, numbers, 1, sizes, false, SIZE_8         \
    }
#define AT(kind, table, numbers, sizes)                                                            \
    {                                                                                              \
        (insn_handler *const *)(table), OPERATION_##kind, numbers, 3, sizes, true, SIZE_8          \
    }
#define NUMBER_AT(kind, table, numbers, sizes)                                                     \
    {                                                                                              \
        (insn_handler *const *)(table), OPERATION_##kind, numbers, 3, sizes, false, SIZE_8         \
    }
/* [numbers][addressings][32 and 64 bits] */
#define TWO_SIZES(kind, table, numbers, addressings)                                               \
    {                                                                                              \
        (insn_handler *const *)(table), OPERATION_##kind, numbers, addressings, 2, false, SIZE_32  \
    }
#define ONE(kind, handler)                                                                         \
    {                                                                                              \
        &(handler), OPERATION_##kind, 1, 1, 1, false, SIZE_8                                       \
    }

static const struct handlers tables[] = {
    FLAT(ALU_RR, alu_rr, 8, 4),
    FLAT(ALU_RI, alu_ri, 8, 4),
    AT(ALU_RM, alu_rm, 8, 4),
    AT(ALU_MR, alu_mr, 8, 4),
    AT(ALU_MI, alu_mi, 8, 4),
    AT(ALU_LOCK_MR, alu_lock_mr, 8, 4),
    AT(ALU_LOCK_MI, alu_lock_mi, 8, 4),
    FLAT(TEST_RR, test_rr, 1, 4),
    FLAT(TEST_RI, test_ri, 1, 4),
    AT(TEST_MR, test_mr, 1, 4),
    AT(TEST_MI, test_mi, 1, 4),
    FLAT(UNARY_R, unary_r, 4, 4),
    AT(UNARY_M, unary_m, 4, 4),
    AT(UNARY_LOCK_M, unary_lock_m, 4, 4),
    FLAT(SHIFT_RI, shift_ri, 8, 4),
    FLAT(SHIFT_RC, shift_rc, 8, 4),
    AT(SHIFT_MI, shift_mi, 8, 4),
    FLAT(DOUBLE_RI, double_ri, 2, 4),
    FLAT(IMUL_RR, imul_rr, 1, 4),
    FLAT(IMUL_RRI, imul_rri, 1, 4),
    AT(IMUL_RM, imul_rm, 1, 4),
    AT(IMUL_RMI, imul_rmi, 1, 4),
    FLAT(MUL_R, muldiv_r, 2, 4), /* DIV and IDIV, which can fault, are left out */
    AT(MUL_M, muldiv_m, 4, 4),
    FLAT(MOVE_RR, move_rr, 1, 4),
    FLAT(MOVE_RI, move_ri, 1, 4),
    AT(MOVE_RM, move_rm, 1, 4),
    AT(MOVE_MR, move_mr, 1, 4),
    AT(MOVE_MI, move_mi, 1, 4),
    FLAT(EXCHANGE_RR, exchange_rr, 1, 4),
    AT(EXCHANGE_MR, exchange_mr, 1, 4),
    FLAT(EXTEND_RR, extend_rr, 5, 4),
    NUMBER_AT(EXTEND_RM, extend_rm, 5, 4),
    AT(LEA, lea, 1, 4),
    FLAT(CMOV_RR, cmov_rr, 16, 4),
    NUMBER_AT(CMOV_RM, cmov_rm, 16, 4),
    FLAT(SET_R, set_r, 16, 1),
    NUMBER_AT(SET_M, set_m, 16, 1),
    FLAT(SWAP_R, swap_r, 1, 4),
    FLAT(CONVERT, convert, 1, 4),
    FLAT(SPREAD, spread, 1, 4),
    ONE(NOP, op_nop),
    FLAT(PUSH_R, push_r, STACK_FORM_COUNT, 1),
    FLAT(PUSH_I, push_i, STACK_FORM_COUNT, 1),
    FLAT(PUSH_FLAGS, op_pushf, STACK_FORM_COUNT, 1),
    FLAT(POP_R, pop_r, STACK_FORM_COUNT, 1),
    FLAT(LEAVE, op_leave, STACK_FORM_COUNT, 1),
    FLAT(BIT_RR, bit_rr, 4, 4),
    FLAT(BIT_RI, bit_ri, 4, 4),
    NUMBER_AT(BIT_MR, bit_mr, 4, 4),
    NUMBER_AT(BIT_LOCK_MR, bit_lock_mr, 4, 4),
    NUMBER_AT(BIT_MI, bit_mi, 4, 4),
    NUMBER_AT(BIT_LOCK_MI, bit_lock_mi, 4, 4),
    FLAT(SCAN_RR, scan_rr, 5, 4),
    TWO_SIZES(BMI_RR, bmi_rr, BMI_OPERATION_COUNT, 1),
    TWO_SIZES(BMI_RM, bmi_rm, BMI_OPERATION_COUNT, 3),
    AT(COMPARE_EXCHANGE_MR, compare_exchange_mr, 1, 4),
    AT(ADD_EXCHANGE_MR, add_exchange_mr, 1, 4),
    AT(COMPARE_EXCHANGE_LOCK_MR, compare_exchange_lock_mr, 1, 4),
    AT(ADD_EXCHANGE_LOCK_MR, add_exchange_lock_mr, 1, 4),
    ONE(STAC, op_stac),
    ONE(CLAC, op_clac),
    ONE(CLI, op_cli),
    ONE(STI, op_sti),
    ONE(CLD, op_cld),
    ONE(STD, op_std),
    ONE(CLC, op_clc),
    ONE(STC, op_stc),
    ONE(CMC, op_cmc),
    FLAT(JUMP_IF, jump_conditional[0], 16, 1),
    FLAT(JUMP_IF, jump_conditional[1], 16, 1),
    FLAT(JUMP, jump_relative, 2, 1),
    FLAT(JUMP_R, jump_r, 2, 1),
    NUMBER_AT(JUMP_M, jump_m, 2, 1),
    FLAT(CALL, call_relative, 2, 1),
    FLAT(CALL_R, call_r, 2, 1),
    NUMBER_AT(CALL_M, call_m, 2, 1),
    FLAT(RETURN, op_ret, 2, 1),
    ONE(GOTO, insn_goto),
    ONE(PAGE_END, insn_page_end),
};
#define TABLES (sizeof tables / sizeof *tables)

struct known {
    insn_handler *handler;
    struct operation operation;
};

/* By a hash of the handler, in the first free place from there on. Less than half of it is used. */
#define KNOWN_BITS 13
#define KNOWN_PLACES (1u << KNOWN_BITS)
static struct known known[KNOWN_PLACES];

static unsigned place_of(insn_handler *handler)
{
    return (unsigned)((uintptr_t)handler * 0x9e3779b97f4a7c15ull >> (64 - KNOWN_BITS));
}

/* The handler's entry, or the free one where it would be. */
static struct known *find(insn_handler *handler)
{
    unsigned place = place_of(handler);
    while (known[place].handler && known[place].handler != handler)
        place = (place + 1) % KNOWN_PLACES;
    return &known[place];
}

static void add(insn_handler *handler, struct operation operation)
{
    if (handler)
        *find(handler) = (struct known){handler, operation};
}

static void add_table(const struct handlers *of)
{
    for (unsigned number = 0; number < of->numbers; number++)
        for (unsigned at = 0; at < of->addressings; at++)
            for (unsigned size = 0; size < of->sizes; size++) {
                unsigned row = of->addressing_first ? at * of->numbers + number
                                                    : number * of->addressings + at;
                struct operation operation = {of->kind, (uint8_t)number,
                                              (uint8_t)(of->smallest + size), (uint8_t)at};
                add(of->table[row * of->sizes + size], operation);
            }
}

static void prepare(void)
{
    for (unsigned i = 0; i < TABLES; i++)
        add_table(&tables[i]);
}

struct operation operation_of(insn_handler *handler)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
    return find(handler)->operation;
}
