/* The instructions of a trace, one by one. */
#include "arch.h"
#include "ops_jump.h"
#include "translate.h"

#define NOT_EQUAL 5

struct operand trace_place(unsigned operand)
{
    enum host reg = pinned_register(operand);
    return reg == HOST_NONE ? in_cpu((int32_t)operand) : in_register(reg);
}

enum host trace_load(struct trace *trace, unsigned operand, enum host temporary)
{
    enum host reg = pinned_register(operand);
    if (reg != HOST_NONE)
        return reg;
    host_load(&trace->w, SIZE_64, temporary, in_cpu((int32_t)operand));
    return temporary;
}

void trace_keep(struct trace *trace, unsigned operand, enum host reg)
{
    if (pinned_register(operand) == HOST_NONE)
        host_store(&trace->w, SIZE_64, in_cpu((int32_t)operand), reg);
}

static uint64_t jump_target(const struct trace *trace, const struct trace_item *item)
{
    uint64_t target = trace->page->va + (uint64_t)(int64_t)item->decoded.relative;
    return trace->page->compat ? (uint32_t)target : target;
}

/* The trace continues in another run of decoded instructions. */
static void count_run(struct trace *trace, int32_t executed)
{
    if (executed == 0)
        return;
    host_alu_number(&trace->w, SIZE_64, ALU_ADD, CPU_AT(executed), executed);
    trace->host_flags = false;
}

static void jump(struct trace *trace, unsigned index)
{
    const struct trace_item *item = &trace->items[index];
    unsigned executed = RUN_LENGTH(&item->decoded);
    bool is_last = index + 1 == trace->count;
    if (is_last && trace->end == TRACE_ENDS_ITSELF) {
        trace_link(trace, item, jump_target(trace, item), executed);
        return;
    }
    const struct insn *next = is_last ? trace->next : trace->items[index + 1].insn;
    count_run(trace, (int32_t)executed - next->ordinal);
}

/* At other CPLs than 0 the handler checks the privilege. */
static void exit_if_unprivileged(struct trace *trace, const struct trace_item *item)
{
    host_alu_number(&trace->w, SIZE_8, ALU_CMP, CPU_AT(cpl), 0);
    trace_exit_if(trace, item, NOT_EQUAL);
    trace->host_flags = false;
}

/* As cpu_choose_tlb() does at CPL 0. */
static void allow_access(struct trace *trace, const struct trace_item *item, bool allow)
{
    struct code_writer *w = &trace->w;
    exit_if_unprivileged(trace, item);
    host_alu_number(w, SIZE_32, allow ? ALU_OR : ALU_AND, CPU_AT(rflags),
                    allow ? (int32_t)RFLAGS_AC : ~(int32_t)RFLAGS_AC);
    host_lea(w, SIZE_64, HOST_RAX, CPU_AT(tlbs[TLB_SUPERVISOR]));
    if (allow) {
        host_lea(w, SIZE_64, HOST_RSI, CPU_AT(tlbs[TLB_SUPERVISOR_AC]));
        host_emit(w, SIZE_32, 0xf7, 0, CPU_AT(sregs.cr4)); /* TEST */
        write_number(w, CR4_SMAP, 4);
        host_emit(w, SIZE_64, 0x0f40 + NOT_EQUAL, HOST_RAX, in_register(HOST_RSI)); /* CMOV */
    }
    host_store(w, SIZE_64, CPU_AT(tlb), HOST_RAX);
}

/* If an interrupt is pending, the handler executes STI. */
static void allow_interrupts(struct trace *trace, const struct trace_item *item, bool allow)
{
    exit_if_unprivileged(trace, item);
    if (allow) {
        host_alu_number(&trace->w, SIZE_8, ALU_CMP, CPU_AT(interrupt_waits), 0);
        trace_exit_if(trace, item, NOT_EQUAL);
    }
    host_alu_number(&trace->w, SIZE_32, allow ? ALU_OR : ALU_AND, CPU_AT(rflags),
                    allow ? (int32_t)RFLAGS_IF : ~(int32_t)RFLAGS_IF);
}

/* CLD, STD, CLC, STC, CMC */
static void change_flag(struct trace *trace, const struct trace_item *item)
{
    struct operand lahf = in_cpu((int32_t)offsetof(struct cpu, status) + 1);
    const int32_t direction = RFLAGS_DF;
    trace->host_flags = false;
    switch (item->does.kind) {
    case OPERATION_CLD:
        host_alu_number(&trace->w, SIZE_32, ALU_AND, CPU_AT(rflags), ~direction);
        return;
    case OPERATION_STD:
        host_alu_number(&trace->w, SIZE_32, ALU_OR, CPU_AT(rflags), direction);
        return;
    case OPERATION_CLC:
        host_alu_number(&trace->w, SIZE_8, ALU_AND, lahf, 0xfe);
        return;
    case OPERATION_STC:
        host_alu_number(&trace->w, SIZE_8, ALU_OR, lahf, 1);
        return;
    default:
        host_alu_number(&trace->w, SIZE_8, ALU_XOR, lahf, 1);
    }
}

static void control_flow(struct trace *trace, unsigned index)
{
    const struct trace_item *item = &trace->items[index];
    switch (item->does.kind) {
    case OPERATION_JUMP_IF: {
        unsigned condition = trace_prepare_condition(trace, item->does.number);
        trace_link_if(trace, item, condition, jump_target(trace, item), RUN_LENGTH(&item->decoded));
        return;
    }
    case OPERATION_JUMP:
        jump(trace, index);
        return;
    case OPERATION_GOTO:
        count_run(trace, (int32_t)item->decoded.ordinal - item->decoded.target->ordinal);
        return;
    case OPERATION_PAGE_END:
        trace_link(trace, item, jump_target(trace, item), item->decoded.ordinal);
        return;
    case OPERATION_CALL:
        trace_call(trace, item);
        return;
    case OPERATION_JUMP_R:
    case OPERATION_JUMP_M:
    case OPERATION_CALL_R:
    case OPERATION_CALL_M:
        trace_jump_indirect(trace, item);
        return;
    case OPERATION_CLD ... OPERATION_CMC:
        change_flag(trace, item);
        return;
    case OPERATION_RETURN:
        trace_return(trace, item);
        return;
    case OPERATION_STAC:
    case OPERATION_CLAC:
        allow_access(trace, item, item->does.kind == OPERATION_STAC);
        return;
    case OPERATION_CLI:
    case OPERATION_STI:
        allow_interrupts(trace, item, item->does.kind == OPERATION_STI);
        return;
    default:
        return;
    }
}

unsigned trace_emit(struct trace *trace, unsigned index)
{
    const struct trace_item *item = &trace->items[index];
    if (item->does.kind == OPERATION_PUSH_R)
        return trace_push_run(trace, index);
    if (item->does.kind == OPERATION_POP_R)
        return trace_pop_run(trace, index);
    if (!trace_arithmetic(trace, item) && !trace_bits(trace, item) && !trace_move(trace, item))
        control_flow(trace, index);
    return 1;
}
