/*
 * The guest's status flags in translated code. cpu->status has them, in the form that handlers use,
 * wherever an exit or an instruction may read them; the host's own flags are used while they are
 * those of the instruction before.
 */
#include "translate.h"

/* The status flags as CMP of memory and numbers reaches them: LAHF's byte, and OF in the other. */
#define STATUS_AT (int32_t) offsetof(struct cpu, status)
#define LAHF_AT (STATUS_AT + 1)

#define DEC 1 /* after INC */
#define NOT 2
#define NEG 3
#define ROTATIONS 4u /* ROL, ROR, RCL, RCR come first */
#define ADC 2
#define SBB 3

/* Whether it defines all flags. */
static bool defines_all(const struct trace_item *item)
{
    switch (item->does.kind) {
    case OPERATION_ALU_RR ... OPERATION_TEST_MI:
    case OPERATION_DOUBLE_RI:
    case OPERATION_IMUL_RR ... OPERATION_MUL_M:
    case OPERATION_SCAN_RR:
    case OPERATION_COMPARE_EXCHANGE_MR ... OPERATION_ADD_EXCHANGE_LOCK_MR:
        return true;
    case OPERATION_BMI_RR:
    case OPERATION_BMI_RM:
        return bmi_defines_flags(item->does.number);
    case OPERATION_UNARY_R:
    case OPERATION_UNARY_M:
    case OPERATION_UNARY_LOCK_M:
        return item->does.number == NEG;
    case OPERATION_SHIFT_RI:
    case OPERATION_SHIFT_MI:
        return item->does.number >= ROTATIONS;
    default:
        return false;
    }
}

static bool reads_flags(const struct trace_item *item)
{
    switch (item->does.kind) {
    case OPERATION_ALU_RR ... OPERATION_ALU_LOCK_MI:
        return item->does.number == ADC || item->does.number == SBB;
    case OPERATION_SHIFT_RI ... OPERATION_SHIFT_MI:
        return item->does.number < ROTATIONS;
    case OPERATION_BIT_RR ... OPERATION_BIT_LOCK_MI:
    case OPERATION_CMOV_RR ... OPERATION_SET_M:
    case OPERATION_PUSH_FLAGS:
    case OPERATION_JUMP_IF:
        return true;
    default:
        return false;
    }
}

bool trace_may_exit(const struct trace_item *item)
{
    switch (item->does.kind) {
    case OPERATION_ALU_RM ... OPERATION_ALU_LOCK_MI:
    case OPERATION_TEST_MR:
    case OPERATION_TEST_MI:
    case OPERATION_UNARY_M:
    case OPERATION_UNARY_LOCK_M:
    case OPERATION_SHIFT_MI:
    case OPERATION_IMUL_RM:
    case OPERATION_IMUL_RMI:
    case OPERATION_MUL_M:
    case OPERATION_MOVE_RM ... OPERATION_MOVE_MI:
    case OPERATION_EXCHANGE_MR:
    case OPERATION_EXTEND_RM:
    case OPERATION_CMOV_RM:
    case OPERATION_SET_M:
    case OPERATION_PUSH_R ... OPERATION_LEAVE:
    case OPERATION_BIT_MR ... OPERATION_BIT_LOCK_MI:
    case OPERATION_BMI_RM ... OPERATION_PAGE_END:
        return true;
    default:
        return false;
    }
}

/* INC and DEC of registers: they use the host's flags, and save them themselves. */
static bool steps_register(const struct trace_item *item)
{
    return item->does.kind == OPERATION_UNARY_R && item->does.number <= DEC;
}

/* Its code changes no flags of the host, and uses them where they are the guest's. */
static bool keeps_host_flags(const struct trace_item *item)
{
    switch (item->does.kind) {
    case OPERATION_MOVE_RR:
    case OPERATION_MOVE_RI:
    case OPERATION_EXCHANGE_RR:
    case OPERATION_EXTEND_RR:
    case OPERATION_LEA:
    case OPERATION_CMOV_RR:
    case OPERATION_SET_R:
    case OPERATION_SWAP_R:
    case OPERATION_CONVERT:
    case OPERATION_SPREAD:
    case OPERATION_NOP:
        return true;
    case OPERATION_BMI_RR:
        return !bmi_defines_flags(item->does.number);
    default:
        return item->does.kind == OPERATION_UNARY_R && item->does.number == NOT;
    }
}

/*
 * Whether cpu->status may be read before the flags are defined again, after an instruction that
 * leaves all of them in the host's flags.
 */
static bool status_is_seen(const struct trace *trace, unsigned index)
{
    for (unsigned i = index + 1; i < trace->count; i++) {
        const struct trace_item *item = &trace->items[i];
        if (steps_register(item))
            return false;
        if (keeps_host_flags(item))
            continue;
        return trace_may_exit(item) || reads_flags(item) || !defines_all(item);
    }
    return true;
}

/* Backwards: whether flags are read before all of them are defined again. */
void trace_find_flags(struct trace *trace)
{
    bool read = true;
    for (unsigned i = trace->count; i-- > 0;) {
        struct trace_item *item = &trace->items[i];
        bool leaves_all = defines_all(item) || steps_register(item);
        item->flags_read = read;
        item->flags_needed = read && (!leaves_all || status_is_seen(trace, i));
        read = trace_may_exit(item) || reads_flags(item) || (read && !defines_all(item));
    }
}

void trace_save_flags(struct trace *trace, const struct trace_item *item)
{
    if (!item->flags_needed)
        return;
    write_byte(&trace->w, 0x9f);                                    /* LAHF */
    host_emit(&trace->w, SIZE_8, 0x0f90, 0, in_register(HOST_RAX)); /* SETO */
    host_store(&trace->w, SIZE_16, CPU_AT(status), HOST_RAX);
}

void trace_end_flags(struct trace *trace, const struct trace_item *item)
{
    trace_save_flags(trace, item);
    trace->host_flags = true;
}

void trace_restore_flags(struct trace *trace)
{
    if (trace->host_flags)
        return;
    host_emit(&trace->w, SIZE_32, 0x0fb7, HOST_RAX, CPU_AT(status)); /* MOVZX */
    host_alu_number(&trace->w, SIZE_8, ALU_ADD, in_register(HOST_RAX), 0x7f);
    write_byte(&trace->w, 0x9e); /* SAHF */
    trace->host_flags = true;
}

void trace_restore_carry(struct trace *trace)
{
    if (trace->host_flags)
        return;
    /* BT of what is bit 8 of the status. */
    host_emit(&trace->w, SIZE_32, 0x0fba, 4, CPU_AT(status));
    write_byte(&trace->w, 8);
}

unsigned trace_prepare_condition(struct trace *trace, unsigned condition)
{
    static const struct {
        int32_t at;
        uint8_t bits;
    } tests[] = {{STATUS_AT, 0x01}, {LAHF_AT, 0x01}, {LAHF_AT, 0x40},
                 {LAHF_AT, 0x41},   {LAHF_AT, 0x80}, {LAHF_AT, 0x04}};
    if (trace->host_flags)
        return condition;
    unsigned pair = condition / 2;
    if (pair >= sizeof tests / sizeof *tests) {
        trace_restore_flags(trace);
        return condition;
    }
    host_emit(&trace->w, SIZE_8, 0xf6, 0, in_cpu(tests[pair].at)); /* TEST */
    write_byte(&trace->w, tests[pair].bits);
    return condition & 1 ? 4 : 5; /* zero, not zero */
}
