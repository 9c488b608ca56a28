/* Arithmetic in translated code. */
#include "translate.h"

#define MEMORY in_memory(HOST_RSI, 0)
#define CL_COUNT 0xd3
#define NUMBER_COUNT 0xc1
#define LOCK 0xf0

/* ADD to CMP by an opcode's middle bits, with the register operand as the source or the target. */
static unsigned alu_opcode(const struct operation *does, bool to_register)
{
    return opcode_of_size(does->number * 8u + (to_register ? 3 : 1), does->size);
}

static bool has_result(const struct operation *does)
{
    return does->number != ALU_CMP;
}

/* ADC and SBB. Loads nothing into registers. */
static void begin_alu(struct trace *trace, const struct operation *does)
{
    if (does->number == ALU_ADC || does->number == ALU_SBB)
        trace_restore_carry(trace);
}

static int32_t number_of(const struct trace_item *item)
{
    return (int32_t)item->decoded.immediate;
}

/*
 * AH to BH with a number. The guest's RAX is in a register that has no such part; the others are in
 * the processor's own. Without a REX prefix these have the numbers 4 to 7.
 */
static void high_byte(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    bool tests = item->does.kind == OPERATION_TEST_RI;
    enum host all = pinned_register(item->decoded.rm);
    enum host used = all < HOST_RSP ? all : HOST_RAX;
    if (!tests)
        begin_alu(trace, &item->does);
    if (used != all)
        host_load(w, SIZE_64, used, in_register(all));
    write_byte(w, tests ? 0xf6 : 0x80);
    write_byte(w, 0xc4 | (tests ? 0 : item->does.number << 3) | used);
    write_number(w, item->decoded.immediate, 1);
    if (used != all && !tests && has_result(&item->does))
        host_load(w, SIZE_64, all, in_register(used));
    trace_end_flags(trace, item);
}

static void alu_registers(struct trace *trace, const struct trace_item *item)
{
    const struct operation *does = &item->does;
    const struct insn *insn = &item->decoded;
    begin_alu(trace, does);
    enum host to = trace_load(trace, insn->rm, HOST_RAX);
    if (does->kind == OPERATION_ALU_RR)
        host_emit(&trace->w, does->size, alu_opcode(does, true), to, trace_place(insn->reg));
    else
        host_alu_number(&trace->w, does->size, does->number, in_register(to), number_of(item));
    if (has_result(does))
        trace_keep(trace, insn->rm, to);
    trace_end_flags(trace, item);
}

static void alu_load(struct trace *trace, const struct trace_item *item)
{
    const struct operation *does = &item->does;
    trace_operand(trace, item, ACCESS_READ);
    begin_alu(trace, does);
    enum host to = trace_load(trace, item->decoded.reg, HOST_RAX);
    host_emit(&trace->w, does->size, alu_opcode(does, true), to, MEMORY);
    if (has_result(does))
        trace_keep(trace, item->decoded.reg, to);
    trace_end_flags(trace, item);
}

static void alu_memory(struct trace *trace, const struct trace_item *item, bool locked)
{
    const struct operation *does = &item->does;
    bool from_register = does->kind == OPERATION_ALU_MR || does->kind == OPERATION_ALU_LOCK_MR;
    unsigned how = has_result(does) ? ACCESS_WRITE : ACCESS_READ;
    trace_operand(trace, item, locked ? ACCESS_LOCKED : how);
    begin_alu(trace, does);
    enum host from = from_register ? trace_load(trace, item->decoded.reg, HOST_RAX) : HOST_NONE;
    if (locked)
        write_byte(&trace->w, LOCK);
    if (from_register)
        host_emit(&trace->w, does->size, alu_opcode(does, false), from, MEMORY);
    else
        host_alu_number(&trace->w, does->size, does->number, MEMORY, number_of(item));
    trace_end_flags(trace, item);
}

static void test(struct trace *trace, const struct trace_item *item)
{
    const struct operation *does = &item->does;
    const struct insn *insn = &item->decoded;
    bool in_registers = does->kind == OPERATION_TEST_RR || does->kind == OPERATION_TEST_RI;
    bool with_register = does->kind == OPERATION_TEST_RR || does->kind == OPERATION_TEST_MR;
    if (!in_registers)
        trace_operand(trace, item, ACCESS_READ);
    struct operand rm = in_registers ? trace_place(insn->rm) : MEMORY;
    if (with_register) {
        enum host reg = trace_load(trace, insn->reg, HOST_RAX);
        host_emit(&trace->w, does->size, opcode_of_size(0x85, does->size), reg, rm);
    } else {
        host_emit(&trace->w, does->size, opcode_of_size(0xf7, does->size), 0, rm);
        write_immediate(&trace->w, does->size, insn->immediate);
    }
    trace_end_flags(trace, item);
}

/* ---- INC, DEC, NOT, NEG ---- */

enum { INC, DEC, NOT, NEG };

static void emit_unary(struct trace *trace, const struct trace_item *item, struct operand rm,
                       bool locked)
{
    unsigned number = item->does.number, size = item->does.size;
    if (locked)
        write_byte(&trace->w, LOCK);
    if (number == INC || number == DEC)
        host_emit(&trace->w, size, opcode_of_size(0xff, size), number, rm);
    else
        host_emit(&trace->w, size, opcode_of_size(0xf7, size), number, rm);
}

/* INC and DEC keep CF, which the host has then to have. NOT keeps all. */
static void begin_unary(struct trace *trace, const struct trace_item *item)
{
    if (item->flags_read && item->does.number <= DEC) {
        trace_restore_carry(trace);
        trace->host_flags = true;
    }
}

static void end_unary(struct trace *trace, const struct trace_item *item)
{
    if (item->does.number == NOT)
        return;
    trace_save_flags(trace, item);
    trace->host_flags |= item->does.number == NEG;
}

static void unary(struct trace *trace, const struct trace_item *item)
{
    if (item->does.kind == OPERATION_UNARY_R) {
        begin_unary(trace, item);
        enum host to = trace_load(trace, item->decoded.rm, HOST_RAX);
        emit_unary(trace, item, in_register(to), false);
        trace_keep(trace, item->decoded.rm, to);
    } else {
        bool locked = item->does.kind == OPERATION_UNARY_LOCK_M;
        trace_operand(trace, item, locked ? ACCESS_LOCKED : ACCESS_WRITE);
        begin_unary(trace, item);
        emit_unary(trace, item, MEMORY, locked);
    }
    end_unary(trace, item);
}

/* ---- shifts ---- */

#define ROTATIONS 4u
#define SHL 4
#define SHL_ALIAS 6

/* Those that may leave flags alone: rotations, and counts in CL, which may be 0. */
static bool keeps_flags(const struct trace_item *item)
{
    return item->does.number < ROTATIONS || item->does.kind == OPERATION_SHIFT_RC;
}

static void begin_shift(struct trace *trace, const struct trace_item *item)
{
    bool through_carry = item->does.number == 2 || item->does.number == 3;
    if ((item->flags_needed && keeps_flags(item)) || through_carry)
        trace_restore_flags(trace);
}

static void end_shift(struct trace *trace, const struct trace_item *item)
{
    trace_save_flags(trace, item);
    trace->host_flags = item->flags_needed || !keeps_flags(item);
}

static void shift(struct trace *trace, const struct trace_item *item)
{
    const struct operation *does = &item->does;
    bool in_memory_ = does->kind == OPERATION_SHIFT_MI, by_cl = does->kind == OPERATION_SHIFT_RC;
    unsigned operation = does->number == SHL_ALIAS ? SHL : does->number;
    unsigned opcode = opcode_of_size(by_cl ? CL_COUNT : NUMBER_COUNT, does->size);
    if (in_memory_)
        trace_operand(trace, item, ACCESS_WRITE);
    begin_shift(trace, item);
    enum host to = in_memory_ ? HOST_NONE : trace_load(trace, item->decoded.rm, HOST_RAX);
    host_emit(&trace->w, does->size, opcode, operation, in_memory_ ? MEMORY : in_register(to));
    if (!by_cl)
        write_byte(&trace->w, item->decoded.immediate & 0xff);
    if (!in_memory_)
        trace_keep(trace, item->decoded.rm, to);
    end_shift(trace, item);
}

static void double_shift(struct trace *trace, const struct trace_item *item)
{
    enum host to = trace_load(trace, item->decoded.rm, HOST_RAX);
    enum host from = trace_load(trace, item->decoded.reg, HOST_RSI);
    host_emit(&trace->w, item->does.size, item->does.number ? 0x0fac : 0x0fa4, from,
              in_register(to));
    write_byte(&trace->w, item->decoded.immediate & 0xff);
    trace_keep(trace, item->decoded.rm, to);
    trace_end_flags(trace, item);
}

/* ---- multiplications ---- */

static void multiply(struct trace *trace, const struct trace_item *item)
{
    const struct operation *does = &item->does;
    bool with_number = does->kind == OPERATION_IMUL_RRI || does->kind == OPERATION_IMUL_RMI;
    bool from_memory = does->kind == OPERATION_IMUL_RM || does->kind == OPERATION_IMUL_RMI;
    if (from_memory)
        trace_operand(trace, item, ACCESS_READ);
    enum host to = trace_load(trace, item->decoded.reg, HOST_RAX);
    struct operand from = from_memory ? MEMORY : trace_place(item->decoded.rm);
    host_emit(&trace->w, does->size, with_number ? 0x69 : 0x0faf, to, from);
    if (with_number)
        write_immediate(&trace->w, does->size, item->decoded.immediate);
    trace_keep(trace, item->decoded.reg, to);
    trace_end_flags(trace, item);
}

/* RDX is in RDX. */
static void multiply_wide(struct trace *trace, const struct trace_item *item)
{
    bool from_memory = item->does.kind == OPERATION_MUL_M;
    enum host rax = pinned_register(REG_RAX * 8);
    if (from_memory)
        trace_operand(trace, item, ACCESS_READ);
    struct operand from = from_memory ? MEMORY : trace_place(item->decoded.rm);
    host_load(&trace->w, SIZE_64, HOST_RAX, in_register(rax));
    host_emit(&trace->w, item->does.size, 0xf7, 4u + item->does.number, from);
    host_load(&trace->w, SIZE_64, rax, in_register(HOST_RAX));
    trace_end_flags(trace, item);
}

bool trace_arithmetic(struct trace *trace, const struct trace_item *item)
{
    switch (item->does.kind) {
    case OPERATION_ALU_RR:
    case OPERATION_ALU_RI:
        if (item->does.kind == OPERATION_ALU_RI && item->decoded.rm & 7)
            high_byte(trace, item);
        else
            alu_registers(trace, item);
        return true;
    case OPERATION_ALU_RM:
        alu_load(trace, item);
        return true;
    case OPERATION_ALU_MR:
    case OPERATION_ALU_MI:
        alu_memory(trace, item, false);
        return true;
    case OPERATION_ALU_LOCK_MR:
    case OPERATION_ALU_LOCK_MI:
        alu_memory(trace, item, true);
        return true;
    case OPERATION_TEST_RR ... OPERATION_TEST_MI:
        if (item->does.kind == OPERATION_TEST_RI && item->decoded.rm & 7)
            high_byte(trace, item);
        else
            test(trace, item);
        return true;
    case OPERATION_UNARY_R ... OPERATION_UNARY_LOCK_M:
        unary(trace, item);
        return true;
    case OPERATION_SHIFT_RI ... OPERATION_SHIFT_MI:
        shift(trace, item);
        return true;
    case OPERATION_DOUBLE_RI:
        double_shift(trace, item);
        return true;
    case OPERATION_IMUL_RR ... OPERATION_IMUL_RMI:
        multiply(trace, item);
        return true;
    case OPERATION_MUL_R:
    case OPERATION_MUL_M:
        multiply_wide(trace, item);
        return true;
    default:
        return false;
    }
}
