/* Moves and stack operations in translated code. */
#include "ops.h"
#include "translate.h"

#define MEMORY in_memory(HOST_RSI, 0)

/*
 * A new value for a register operand, from `from`, which may be memory: results of 32 bits clear
 * the upper half, narrower ones leave the rest.
 */
static void set_register(struct trace *trace, unsigned operand, unsigned size, struct operand from)
{
    struct code_writer *w = &trace->w;
    enum host to = pinned_register(operand);
    if (to != HOST_NONE) {
        host_load(w, size, to, from);
        return;
    }
    if (from.memory || size == SIZE_32) {
        host_load(w, size, HOST_RAX, from);
        from = in_register(HOST_RAX);
    }
    host_store(w, size == SIZE_32 ? SIZE_64 : size, trace_place(operand), from.base);
}

static void move_number(struct trace *trace, const struct trace_item *item)
{
    unsigned size = item->does.size;
    uint64_t number = (uint64_t)item->decoded.immediate;
    if (size < SIZE_32) {
        host_emit(&trace->w, size, opcode_of_size(0xc7, size), 0, trace_place(item->decoded.rm));
        write_immediate(&trace->w, size, item->decoded.immediate);
        return;
    }
    enum host to = pinned_register(item->decoded.rm);
    enum host reg = to == HOST_NONE ? HOST_RAX : to;
    host_load_number(&trace->w, reg, size == SIZE_32 ? (uint32_t)number : number);
    trace_keep(trace, item->decoded.rm, reg);
}

static void store_number(struct trace *trace, const struct trace_item *item)
{
    unsigned size = item->does.size;
    trace_operand(trace, item, ACCESS_WRITE);
    host_emit(&trace->w, size, opcode_of_size(0xc7, size), 0, MEMORY);
    write_immediate(&trace->w, size, item->decoded.immediate);
}

static void exchange_registers(struct trace *trace, const struct trace_item *item)
{
    unsigned size = item->does.size;
    host_load(&trace->w, size, HOST_RAX, trace_place(item->decoded.rm));
    host_load(&trace->w, size, HOST_RSI, trace_place(item->decoded.reg));
    set_register(trace, item->decoded.reg, SIZE_64, in_register(HOST_RAX));
    set_register(trace, item->decoded.rm, SIZE_64, in_register(HOST_RSI));
}

static void exchange_memory(struct trace *trace, const struct trace_item *item)
{
    unsigned size = item->does.size;
    trace_operand(trace, item, ACCESS_LOCKED);
    enum host reg = trace_load(trace, item->decoded.reg, HOST_RAX);
    host_emit(&trace->w, size, opcode_of_size(0x87, size), reg, MEMORY);
    trace_keep(trace, item->decoded.reg, reg);
}

static void extend(struct trace *trace, const struct trace_item *item)
{
    static const uint16_t opcodes[] = {[ZERO_EXTEND_8] = 0x0fb6,
                                       [ZERO_EXTEND_16] = 0x0fb7,
                                       [SIGN_EXTEND_8] = 0x0fbe,
                                       [SIGN_EXTEND_16] = 0x0fbf,
                                       [SIGN_EXTEND_32] = 0x63};
    unsigned number = item->does.number, size = item->does.size;
    bool bytes = number == ZERO_EXTEND_8 || number == SIGN_EXTEND_8;
    struct operand from = trace_place(item->decoded.rm);
    if (item->does.kind == OPERATION_EXTEND_RM) {
        unsigned from_bytes = bytes ? 1 : number == SIGN_EXTEND_32 ? 4 : 2;
        trace_address(trace, item, HOST_RSI, SIZE_64, true);
        trace_access(trace, item, from_bytes, ACCESS_READ);
        from = MEMORY;
    }
    enum host pinned = pinned_register(item->decoded.reg);
    enum host to = pinned == HOST_NONE ? trace_load(trace, item->decoded.reg, HOST_RAX) : pinned;
    if (bytes && !from.memory && from.base >= HOST_RSP && from.base <= HOST_RDI && to < HOST_R8 &&
        size != SIZE_64) {
        /* A REX prefix, without which these would be AH to BH. */
        if (size == SIZE_16)
            write_byte(&trace->w, 0x66);
        write_byte(&trace->w, 0x40);
        write_byte(&trace->w, 0x0f);
        write_byte(&trace->w, opcodes[number] & 0xff);
        write_byte(&trace->w, 0xc0 | to << 3 | from.base);
    } else {
        host_emit(&trace->w, size, opcodes[number], to, from);
    }
    trace_keep(trace, item->decoded.reg, to);
}

static void load_address(struct trace *trace, const struct trace_item *item)
{
    enum host pinned = pinned_register(item->decoded.reg);
    enum host to = pinned == HOST_NONE ? HOST_RSI : pinned;
    trace_address(trace, item, to, item->does.size, false);
    trace_keep(trace, item->decoded.reg, to);
}

/* A false condition still loads its operand, and clears the upper half of a 32-bit register. */
static void move_if(struct trace *trace, const struct trace_item *item)
{
    bool from_memory = item->does.kind == OPERATION_CMOV_RM;
    if (from_memory)
        trace_operand(trace, item, ACCESS_READ);
    unsigned condition = trace_prepare_condition(trace, item->does.number);
    enum host to = trace_load(trace, item->decoded.reg, HOST_RAX);
    host_emit(&trace->w, item->does.size, 0x0f40 + condition, to,
              from_memory ? MEMORY : trace_place(item->decoded.rm));
    trace_keep(trace, item->decoded.reg, to);
}

static void set_if(struct trace *trace, const struct trace_item *item)
{
    bool in_memory_ = item->does.kind == OPERATION_SET_M;
    if (in_memory_) {
        trace_address(trace, item, HOST_RSI, SIZE_64, true);
        trace_access(trace, item, 1, ACCESS_WRITE);
    }
    unsigned condition = trace_prepare_condition(trace, item->does.number);
    host_emit(&trace->w, SIZE_8, 0x0f90 + condition, 0,
              in_memory_ ? MEMORY : trace_place(item->decoded.rm));
}

static void swap_bytes(struct trace *trace, const struct trace_item *item)
{
    enum host reg = trace_load(trace, item->decoded.rm, HOST_RAX);
    unsigned rex = 0x40 | (item->does.size == SIZE_64 ? 8 : 0) | reg >> 3;
    write_byte(&trace->w, rex);
    write_byte(&trace->w, 0x0f);
    write_byte(&trace->w, 0xc8 | (reg & 7));
    trace_keep(trace, item->decoded.rm, reg);
}

/* CWDE, CDQE; CDQ, CQO: RDX is in RDX. */
static void sign_extend_rax(struct trace *trace, const struct trace_item *item)
{
    enum host rax = pinned_register(REG_RAX * 8);
    bool wide = item->does.size == SIZE_64;
    if (item->does.kind == OPERATION_CONVERT) {
        host_emit(&trace->w, item->does.size, wide ? 0x63 : 0x0fbf, rax, in_register(rax));
        return;
    }
    host_load(&trace->w, SIZE_64, HOST_RAX, in_register(rax));
    if (wide)
        write_byte(&trace->w, 0x48);
    write_byte(&trace->w, 0x99);
}

/* ---- the stack ---- */

#define RUN_MAX 8u
#define STACK_POINTER pinned_register(REG_RSP * 8)

static unsigned stack_size(const struct trace_item *item)
{
    return item->does.number == STACK_NARROW32 ? SIZE_32 : SIZE_64;
}

static bool continues_run(const struct trace *trace, unsigned index, unsigned first)
{
    const struct trace_item *item = &trace->items[index];
    return index < trace->count && item->does.kind == trace->items[first].does.kind &&
           item->does.number == trace->items[first].does.number && item->decoded.rm != REG_RSP * 8;
}

/* PUSHes or POPs of registers that follow each other, as functions begin and end. */
static unsigned run_length(const struct trace *trace, unsigned first)
{
    unsigned length = 1;
    if (trace->items[first].decoded.rm == REG_RSP * 8)
        return 1;
    while (length < RUN_MAX && continues_run(trace, first + length, first))
        length++;
    return length;
}

unsigned trace_push_run(struct trace *trace, unsigned first)
{
    struct code_writer *w = &trace->w;
    const struct trace_item *items = &trace->items[first];
    unsigned size = stack_size(items), bytes = 1u << size, length = run_length(trace, first);
    struct operand below = in_memory(STACK_POINTER, -(int32_t)(bytes * length));
    host_lea(w, size, HOST_RSI, below);
    trace_access(trace, items, bytes * length, ACCESS_WRITE);
    for (unsigned i = 0; i < length; i++) {
        enum host reg = trace_load(trace, items[i].decoded.rm, HOST_RAX);
        host_store(w, size, in_memory(HOST_RSI, (int32_t)(bytes * (length - 1 - i))), reg);
    }
    host_lea(w, size, STACK_POINTER, below);
    return length;
}

unsigned trace_pop_run(struct trace *trace, unsigned first)
{
    struct code_writer *w = &trace->w;
    const struct trace_item *items = &trace->items[first];
    unsigned size = stack_size(items), bytes = 1u << size, length = run_length(trace, first);
    host_load(w, size, HOST_RSI, in_register(STACK_POINTER));
    trace_access(trace, items, bytes * length, ACCESS_READ);
    /* Before the loads: POP RSP keeps what it loads. */
    host_lea(w, size, STACK_POINTER, in_memory(STACK_POINTER, (int32_t)(bytes * length)));
    for (unsigned i = 0; i < length; i++)
        set_register(trace, items[i].decoded.rm, size, in_memory(HOST_RSI, (int32_t)(bytes * i)));
    return length;
}

/* As cpu_rflags() puts them together. */
static void load_flags(struct trace *trace)
{
    struct code_writer *w = &trace->w;
    host_emit(w, SIZE_32, 0x0fb7, HOST_RAX, CPU_AT(status)); /* MOVZX */
    write_byte(w, 0x86);                                     /* XCHG AL, AH */
    write_byte(w, 0xe0);
    write_byte(w, 0xc0); /* SHL AH: OF is bit 11 of the flags */
    write_byte(w, 0xe4);
    write_byte(w, 3);
    host_alu_number(w, SIZE_32, ALU_AND, in_register(HOST_RAX), RFLAGS_STATUS);
    host_emit(w, SIZE_32, 0x0b, HOST_RAX, CPU_AT(rflags)); /* OR */
    host_alu_number(w, SIZE_32, ALU_AND, in_register(HOST_RAX), ~(int32_t)(RFLAGS_RF | RFLAGS_VM));
}

/* PUSH of a number, and PUSHF. */
static void push(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    bool flags = item->does.kind == OPERATION_PUSH_FLAGS;
    unsigned size = stack_size(item);
    struct operand below = in_memory(STACK_POINTER, -(int32_t)(1u << size));
    host_lea(w, size, HOST_RSI, below);
    trace_access(trace, item, 1u << size, ACCESS_WRITE);
    if (flags) {
        load_flags(trace);
        host_store(w, size, MEMORY, HOST_RAX);
    } else {
        host_emit(w, size, 0xc7, 0, MEMORY);
        write_immediate(w, size, item->decoded.immediate);
    }
    host_lea(w, size, STACK_POINTER, below);
}

static void leave(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    unsigned size = stack_size(item);
    enum host bp = pinned_register(REG_RBP * 8);
    host_load(w, size, HOST_RSI, in_register(bp));
    trace_access(trace, item, 1u << size, ACCESS_READ);
    host_lea(w, size, STACK_POINTER, in_memory(bp, 1 << size));
    host_load(w, size, bp, MEMORY);
}

bool trace_move(struct trace *trace, const struct trace_item *item)
{
    const struct insn *insn = &item->decoded;
    unsigned size = item->does.size;
    switch (item->does.kind) {
    case OPERATION_MOVE_RR:
        set_register(trace, insn->rm, size, trace_place(insn->reg));
        return true;
    case OPERATION_MOVE_RI:
        move_number(trace, item);
        return true;
    case OPERATION_MOVE_RM:
        trace_operand(trace, item, ACCESS_READ);
        set_register(trace, insn->reg, size, MEMORY);
        return true;
    case OPERATION_MOVE_MR:
        trace_operand(trace, item, ACCESS_WRITE);
        host_store(&trace->w, size, MEMORY, trace_load(trace, insn->reg, HOST_RAX));
        return true;
    case OPERATION_MOVE_MI:
        store_number(trace, item);
        return true;
    case OPERATION_EXCHANGE_RR:
        exchange_registers(trace, item);
        return true;
    case OPERATION_EXCHANGE_MR:
        exchange_memory(trace, item);
        return true;
    case OPERATION_EXTEND_RR:
    case OPERATION_EXTEND_RM:
        extend(trace, item);
        return true;
    case OPERATION_LEA:
        load_address(trace, item);
        return true;
    case OPERATION_CMOV_RR:
    case OPERATION_CMOV_RM:
        move_if(trace, item);
        return true;
    case OPERATION_SET_R:
    case OPERATION_SET_M:
        set_if(trace, item);
        return true;
    case OPERATION_SWAP_R:
        swap_bytes(trace, item);
        return true;
    case OPERATION_CONVERT:
    case OPERATION_SPREAD:
        sign_extend_rax(trace, item);
        return true;
    case OPERATION_PUSH_I:
    case OPERATION_PUSH_FLAGS:
        push(trace, item);
        return true;
    case OPERATION_LEAVE:
        leave(trace, item);
        return true;
    case OPERATION_NOP:
        return true;
    default:
        return false;
    }
}
