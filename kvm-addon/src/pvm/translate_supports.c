/* Which instructions of the kinds in translate_operation.h can be translated. */
#include "translate.h"

#include "ops.h"

enum register_fields { USES_NONE, USES_REG = 1, USES_RM = 2, USES_BOTH = 3 };

/* Which of the fields name registers of the operand size. */
static unsigned fields_of(const struct operation *does)
{
    switch (does->kind) {
    case OPERATION_ALU_RR:
    case OPERATION_TEST_RR:
    case OPERATION_MOVE_RR:
        return USES_BOTH;
    case OPERATION_ALU_RI:
    case OPERATION_TEST_RI:
    case OPERATION_UNARY_R:
    case OPERATION_SHIFT_RI:
    case OPERATION_SHIFT_RC:
    case OPERATION_MOVE_RI:
    case OPERATION_SET_R:
        return USES_RM;
    case OPERATION_ALU_RM:
    case OPERATION_ALU_MR:
    case OPERATION_ALU_LOCK_MR:
    case OPERATION_TEST_MR:
    case OPERATION_MOVE_RM:
    case OPERATION_MOVE_MR:
    case OPERATION_EXCHANGE_MR:
    case OPERATION_COMPARE_EXCHANGE_MR ... OPERATION_ADD_EXCHANGE_LOCK_MR:
        return USES_REG;
    case OPERATION_EXTEND_RR:
        return does->number == ZERO_EXTEND_8 || does->number == SIGN_EXTEND_8 ? USES_RM : USES_NONE;
    default:
        return USES_NONE;
    }
}

/* AH, CH, DH, BH, which are not the low part of a register of the host, where that matters. */
static bool has_high_byte(const struct trace_item *item)
{
    unsigned kind = item->does.kind, fields = fields_of(&item->does);
    if (kind == OPERATION_ALU_RI || kind == OPERATION_TEST_RI)
        return false;
    return (fields & USES_REG && item->decoded.reg & 7) ||
           (fields & USES_RM && item->decoded.rm & 7);
}

static bool has_count(const struct trace_item *item)
{
    return item->decoded.immediate & (item->does.size == SIZE_64 ? 63 : 31);
}

static bool is_plain_stack(const struct trace_item *item)
{
    return item->does.number == STACK_WIDE64 || item->does.number == STACK_NARROW32;
}

bool trace_supports(const struct trace *trace, const struct trace_item *item)
{
    if (has_high_byte(item))
        return false;
    switch (item->does.kind) {
    case OPERATION_NONE:
        return false;
    /* A count of 0 leaves the flags alone. */
    case OPERATION_SHIFT_RI:
    case OPERATION_SHIFT_MI:
        return has_count(item);
    case OPERATION_DOUBLE_RI:
        return has_count(item) && item->does.size >= SIZE_32;
    /* The tables have DIV and IDIV as well. */
    case OPERATION_MUL_M:
        return item->does.number < 2 && item->does.size >= SIZE_32;
    case OPERATION_MUL_R:
    case OPERATION_EXCHANGE_RR:
    case OPERATION_CMOV_RR:
    case OPERATION_CMOV_RM:
    case OPERATION_LEA:
    case OPERATION_SWAP_R:
    case OPERATION_CONVERT:
    case OPERATION_SPREAD:
    case OPERATION_BIT_RR:
    case OPERATION_BIT_RI:
    case OPERATION_BIT_MI:
    case OPERATION_BIT_LOCK_MI:
    case OPERATION_SCAN_RR:
        return item->does.size >= SIZE_32;
    case OPERATION_BMI_RR:
    case OPERATION_BMI_RM:
        return bmi_is_translated(item->does.number);
    /* The sum with the number's distance would have to wrap. */
    case OPERATION_BIT_MR:
    case OPERATION_BIT_LOCK_MR:
        return item->does.size >= SIZE_32 && item->does.addressing != ADDRESSING_NARROW;
    case OPERATION_PUSH_FLAGS:
        return item->does.number == STACK_WIDE64;
    case OPERATION_PUSH_R:
    case OPERATION_PUSH_I:
    case OPERATION_POP_R:
    case OPERATION_LEAVE:
        return is_plain_stack(item);
    /* RAX and RSI are in use. */
    case OPERATION_COMPARE_EXCHANGE_MR:
    case OPERATION_COMPARE_EXCHANGE_LOCK_MR:
        return pinned_register(item->decoded.reg) != HOST_NONE;
    /* The instruction after STI has to be in the trace: no interrupt comes before its end. */
    case OPERATION_STI:
        return !trace->page->user && trace->count < TRACE_MAX - 2;
    case OPERATION_CALL_R:
        return item->decoded.rm != REG_RSP * 8;
    case OPERATION_STAC:
    case OPERATION_CLAC:
    case OPERATION_CLI:
        return !trace->page->user;
    default:
        return true;
    }
}
