/* Bit tests, scans and atomic operations in translated code. */
#include "translate.h"

#define MEMORY in_memory(HOST_RSI, 0)
#define NUMBER_COUNT 0xc1
#define LOCK 0xf0
#define REP 0xf3
#define EQUAL 4

/* These change CF alone, and processors differ in what they do with the others. */
static void save_carry(struct trace *trace, const struct trace_item *item)
{
    int32_t lahf = (int32_t)offsetof(struct cpu, status) + 1;
    trace->host_flags = false;
    if (!item->flags_needed)
        return;
    host_emit(&trace->w, SIZE_8, 0x0f92, 0, in_register(HOST_RAX)); /* SETC */
    host_alu_number(&trace->w, SIZE_8, ALU_AND, in_cpu(lahf), 0xfe);
    host_emit(&trace->w, SIZE_8, 0x08, HOST_RAX, in_cpu(lahf)); /* OR */
}

#define BIT_TEST 0

static void bit(struct trace *trace, const struct trace_item *item)
{
    const struct operation *does = &item->does;
    bool in_memory_ = does->kind == OPERATION_BIT_MI || does->kind == OPERATION_BIT_LOCK_MI;
    bool locked = does->kind == OPERATION_BIT_LOCK_MI;
    if (in_memory_) {
        unsigned how = does->number == BIT_TEST ? ACCESS_READ : ACCESS_WRITE;
        trace_operand(trace, item, locked ? ACCESS_LOCKED : how);
    }
    enum host to = in_memory_ ? HOST_NONE : trace_load(trace, item->decoded.rm, HOST_RAX);
    if (locked)
        write_byte(&trace->w, LOCK);
    if (does->kind == OPERATION_BIT_RR) {
        enum host by = trace_load(trace, item->decoded.reg, HOST_RSI);
        host_emit(&trace->w, does->size, 0x0fa3 + 8u * does->number, by, in_register(to));
    } else {
        host_emit(&trace->w, does->size, 0x0fba, 4u + does->number,
                  in_memory_ ? MEMORY : in_register(to));
        write_byte(&trace->w, item->decoded.immediate & 0xff);
    }
    if (!in_memory_ && does->number != BIT_TEST)
        trace_keep(trace, item->decoded.rm, to);
    save_carry(trace, item);
}

/* A register's bit number reaches from the operand both ways (SDM 2A 3.1.1.9). */
static void bit_by_register(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    unsigned size = item->does.size, bits = 8u << size;
    bool locked = item->does.kind == OPERATION_BIT_LOCK_MR;
    unsigned how = item->does.number == BIT_TEST ? ACCESS_READ : ACCESS_WRITE;
    struct operand number = trace_place(item->decoded.reg);
    struct operand word = in_memory(HOST_RSI, 0);
    word.index = HOST_RAX;
    word.scale = (uint8_t)size;
    trace_address(trace, item, HOST_RSI, SIZE_64, true);
    host_emit(w, SIZE_64, size == SIZE_64 ? OPCODE_MOV_LOAD : 0x63, HOST_RAX, number);
    host_emit(w, SIZE_64, NUMBER_COUNT, 7, in_register(HOST_RAX)); /* SAR */
    write_byte(w, size + 3);
    host_lea(w, SIZE_64, HOST_RSI, word);
    trace_access(trace, item, 1u << size, locked ? ACCESS_LOCKED : how);
    host_load(w, SIZE_32, HOST_RAX, number);
    host_alu_number(w, SIZE_32, ALU_AND, in_register(HOST_RAX), (int32_t)bits - 1);
    if (locked)
        write_byte(w, LOCK);
    host_emit(w, size, 0x0fa3 + 8u * item->does.number, HOST_RAX, MEMORY);
    save_carry(trace, item);
}

static void scan(struct trace *trace, const struct trace_item *item)
{
    /* BSF, BSR, TZCNT, LZCNT, POPCNT */
    static const struct {
        uint8_t prefix;
        uint16_t opcode;
    } scans[] = {{0, 0x0fbc}, {0, 0x0fbd}, {REP, 0x0fbc}, {REP, 0x0fbd}, {REP, 0x0fb8}};
    enum host to = trace_load(trace, item->decoded.reg, HOST_RAX);
    host_emit_prefixed(&trace->w, scans[item->does.number].prefix, item->does.size,
                       scans[item->does.number].opcode, to, trace_place(item->decoded.rm));
    trace_keep(trace, item->decoded.reg, to);
    trace_end_flags(trace, item);
}

/* ---- atomic operations ---- */

static void compare_exchange(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    unsigned size = item->does.size;
    enum host rax = pinned_register(REG_RAX * 8);
    bool locked = item->does.kind == OPERATION_COMPARE_EXCHANGE_LOCK_MR;
    trace_operand(trace, item, locked ? ACCESS_LOCKED : ACCESS_WRITE);
    host_load(w, SIZE_64, HOST_RAX, in_register(rax));
    if (locked)
        write_byte(w, LOCK);
    host_emit(w, size, opcode_of_size(0x0fb1, size), pinned_register(item->decoded.reg), MEMORY);
    /* Equal, it leaves the accumulator alone, its upper half included. */
    uint8_t *equal = host_jump_if(w, EQUAL);
    host_load(w, size, rax, in_register(HOST_RAX));
    if (!w->full)
        host_set_target(equal, w->at);
    trace_end_flags(trace, item);
}

static void add_exchange(struct trace *trace, const struct trace_item *item)
{
    unsigned size = item->does.size;
    bool locked = item->does.kind == OPERATION_ADD_EXCHANGE_LOCK_MR;
    trace_operand(trace, item, locked ? ACCESS_LOCKED : ACCESS_WRITE);
    enum host reg = trace_load(trace, item->decoded.reg, HOST_RAX);
    if (locked)
        write_byte(&trace->w, LOCK);
    host_emit(&trace->w, size, opcode_of_size(0x0fc1, size), reg, MEMORY);
    trace_keep(trace, item->decoded.reg, reg);
    trace_end_flags(trace, item);
}

bool trace_bits(struct trace *trace, const struct trace_item *item)
{
    switch (item->does.kind) {
    case OPERATION_BIT_MR:
    case OPERATION_BIT_LOCK_MR:
        bit_by_register(trace, item);
        return true;
    case OPERATION_BIT_RR:
    case OPERATION_BIT_RI:
    case OPERATION_BIT_MI:
    case OPERATION_BIT_LOCK_MI:
        bit(trace, item);
        return true;
    case OPERATION_SCAN_RR:
        scan(trace, item);
        return true;
    case OPERATION_BMI_RR:
    case OPERATION_BMI_RM:
        trace_bmi(trace, item);
        return true;
    case OPERATION_COMPARE_EXCHANGE_MR:
    case OPERATION_COMPARE_EXCHANGE_LOCK_MR:
        compare_exchange(trace, item);
        return true;
    case OPERATION_ADD_EXCHANGE_MR:
    case OPERATION_ADD_EXCHANGE_LOCK_MR:
        add_exchange(trace, item);
        return true;
    default:
        return false;
    }
}
