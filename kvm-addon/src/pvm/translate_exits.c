/* Control transfers of translated code: jumps, calls, returns, and exits to handlers. */
#include "decode.h"
#include "translate.h"

#include "code_arena.h"
#include "ops_jump.h"

#define ALWAYS 16u
#define NOT_EQUAL 5
#define NEGATIVE 8

_Static_assert(sizeof(struct return_entry) == 32, "the shift below");
#define RETURN_SHIFT 5

/* A pointer to what executes, as a place where it is written. */
static const uint8_t *writable(const struct trace *trace, const uint8_t *code)
{
    const struct executable *memory = &trace->translator->code;
    return memory->writable + (code - memory->executable);
}

void trace_jump_to_common(struct trace *trace, const uint8_t *code)
{
    uint8_t *jump = host_jump(&trace->w);
    if (!trace->w.full)
        host_set_target(jump, writable(trace, code));
}

static struct trace_exit *add_exit(struct trace *trace, unsigned condition)
{
    uint8_t *jump = host_jump_if(&trace->w, condition);
    if (trace->exit_count == TRACE_EXITS)
        trace->w.full = true;
    if (trace->w.full)
        return &trace->no_exit;
    struct trace_exit *exit = &trace->exits[trace->exit_count++];
    *exit = (struct trace_exit){.jump = jump};
    return exit;
}

void trace_exit_if(struct trace *trace, const struct trace_item *item, unsigned condition)
{
    add_exit(trace, condition)->item = item;
}

static uint32_t number_of(const struct trace *trace, const struct translated_link *link)
{
    return (uint32_t)(link - trace->translator->links);
}

static const uint8_t *executed_at(const struct trace *trace)
{
    return trace->w.at + trace->w.distance;
}

/* With a number in RSI, the shared code. */
static void number_to_common(struct trace *trace, uint32_t number, const uint8_t *code)
{
    host_load_number(&trace->w, HOST_RSI, number);
    trace_jump_to_common(trace, code);
}

static struct translated_link *new_link(struct trace *trace, uint64_t va, unsigned count)
{
    struct translated_link *link = &trace->translator->links[trace->pool->next_link++];
    *link = (struct translated_link){.va = va, .count = count};
    return link;
}

static void store_number(struct trace *trace, struct operand to, uint64_t number)
{
    if ((int64_t)number == (int32_t)number) {
        host_emit(&trace->w, SIZE_64, 0xc7, 0, to); /* MOV */
        write_immediate(&trace->w, SIZE_64, (int64_t)number);
        return;
    }
    host_load_number(&trace->w, HOST_RSI, number);
    host_store(&trace->w, SIZE_64, to, HOST_RSI);
}

_Static_assert(offsetof(struct cpu, attention) % 8 == 0 &&
                   offsetof(struct cpu, generation) == offsetof(struct cpu, attention) + 4,
               "both are compared at once");

/*
 * As handlers jump (ops_jump.h): checks attention and whether the target is still valid. The code
 * after that is for a target that is not, or that is not translated.
 */
static void follow_link(struct trace *trace, struct translated_link *link)
{
    struct code_writer *w = &trace->w;
    const struct translated_common *common = &trace->translator->common;

    host_alu_number(w, SIZE_32, ALU_SUB, CPU_AT(budget), 1);
    uint8_t *over = host_jump_near_if(w, NEGATIVE);
    host_load(w, SIZE_64, HOST_RAX, CPU_AT(attention));
    host_emit_near(w, SIZE_64, 0x3b, HOST_RAX, &link->expected); /* CMP */
    uint8_t *other = host_jump_near_if(w, NOT_EQUAL);
    host_emit_near(w, SIZE_64, OPCODE_MOV_LOAD, HOST_RAX, &link->counted);
    host_emit(w, SIZE_64, 0x01, HOST_RAX, CPU_AT(executed)); /* ADD */
    if ((link->va & PAGE_BASE) != trace->page->va)
        store_number(trace, CPU_AT(r[REG_PAGE]), link->va & PAGE_BASE);
    host_emit_near(w, SIZE_32, 0xff, 4, &link->code); /* JMP */
    if (!w->full) {
        host_set_near_target(over, w->at);
        host_set_near_target(other, w->at);
    }
    number_to_common(trace, number_of(trace, link), common->slow_link);
    link->enter = executed_at(trace);
    number_to_common(trace, number_of(trace, link), common->enter_link);
}

/*
 * Forward in the executing page: such jumps come to an end, and the page's code is invalidated as a
 * whole. So neither attention nor generations are checked, and the jump will be patched to lead to
 * the target.
 */
static void follow_direct_link(struct trace *trace, struct translated_link *link)
{
    struct code_writer *w = &trace->w;
    link->direct = w->at;
    host_emit(w, SIZE_64, 0x81, ALU_ADD, CPU_AT(executed));
    write_number(w, 0, 4);
    uint8_t *jump = host_jump(w);
    if (!w->full)
        host_set_target(jump, w->at);
    number_to_common(trace, number_of(trace, link), trace->translator->common.direct_link);
}

/* `from`: where the jump is, in its page. */
static bool is_direct(const struct trace *trace, unsigned from, uint64_t va)
{
    return (va & PAGE_BASE) == trace->page->va && (va & PAGE_OFFSET) > from;
}

/*
 * The item's offset in its page; for insn_goto and insn_page_end, the end of the instruction
 * before.
 */
static unsigned place_of(const struct trace *trace, const struct trace_item *item)
{
    while (item > trace->items && insn_length(item->insn) == 0)
        item--;
    return insn_offset(item->insn);
}

void trace_link(struct trace *trace, const struct trace_item *item, uint64_t va, unsigned count)
{
    struct translated_link *link = new_link(trace, va, count);
    if (is_direct(trace, place_of(trace, item), va))
        follow_direct_link(trace, link);
    else
        follow_link(trace, link);
}

void trace_link_if(struct trace *trace, const struct trace_item *item, unsigned condition,
                   uint64_t va, unsigned count)
{
    struct trace_exit *exit = add_exit(trace, condition);
    exit->link = new_link(trace, va, count);
    exit->item = item;
}

void trace_to_handler(struct trace *trace, const struct insn *insn)
{
    uint32_t number = (uint32_t)(insn - trace->cpu->code->arena);
    number_to_common(trace, number, trace->translator->common.side_exit);
}

#define RETURN_AT(field)                                                                           \
    ((struct operand){.base = HOST_RDI,                                                            \
                      .index = HOST_RAX,                                                           \
                      .memory = true,                                                              \
                      .displacement = (int32_t)(offsetof(struct cpu, returns) +                    \
                                                offsetof(struct return_entry, field)) -            \
                                      CPU_BIAS})
#define INSN_AT(field) in_memory(HOST_RSI, (int32_t)offsetof(struct insn, field))

/*
 * RAX, which has the number of an entry of the return stack, becomes its distance from the first.
 */
static void index_returns(struct trace *trace)
{
    host_alu_number(&trace->w, SIZE_32, ALU_AND, in_register(HOST_RAX), RETURN_STACK_ENTRIES - 1);
    host_emit(&trace->w, SIZE_32, 0xc1, 4, in_register(HOST_RAX)); /* SHL */
    write_byte(&trace->w, RETURN_SHIFT);
}

static unsigned stack_size(const struct trace *trace)
{
    return trace->page->compat ? SIZE_32 : SIZE_64;
}

/* Pushes the return address of a CALL, and remembers it. */
static void push_return(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    const struct insn *insn = &item->decoded;
    unsigned size = stack_size(trace);
    enum host sp = pinned_register(REG_RSP * 8);
    struct operand below = in_memory(sp, -(1 << size));
    uint64_t return_to = trace->page->va + insn_offset(insn) + insn_length(insn);
    if (trace->page->compat)
        return_to = (uint32_t)return_to;
    host_lea(w, size, HOST_RSI, below);
    trace_access(trace, item, 1u << size, ACCESS_WRITE);
    host_load_number(w, HOST_RAX, return_to);
    host_store(w, size, in_memory(HOST_RSI, 0), HOST_RAX);
    host_lea(w, size, sp, below);

    host_load(w, SIZE_32, HOST_RAX, CPU_AT(return_top));
    host_alu_number(w, SIZE_32, ALU_ADD, in_register(HOST_RAX), 1);
    host_store(w, SIZE_32, CPU_AT(return_top), HOST_RAX);
    index_returns(trace);
    store_number(trace, RETURN_AT(va), return_to);
    store_number(trace, RETURN_AT(page), trace->page->va);
    const struct insn *next = item->insn + 1;
    store_number(trace, RETURN_AT(insn),
                 (uintptr_t)(next->handler == insn_goto ? next->target : next));
    host_load(w, SIZE_32, HOST_RSI, CPU_AT(generation));
    host_store(w, SIZE_32, RETURN_AT(generation), HOST_RSI);
}

void trace_call(struct trace *trace, const struct trace_item *item)
{
    uint64_t target = trace->page->va + (uint64_t)(int64_t)item->decoded.relative;
    push_return(trace, item);
    trace_link(trace, item, trace->page->compat ? (uint32_t)target : target,
               RUN_LENGTH(&item->decoded));
}

/* Non-canonical addresses, for which the handler raises #GP. */
static void exit_if_noncanonical(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    if (trace->page->compat)
        return;
    host_load(w, SIZE_64, HOST_RAX, in_register(HOST_RSI));
    host_emit(w, SIZE_64, 0xc1, 4, in_register(HOST_RAX)); /* SHL */
    write_byte(w, 16);
    host_emit(w, SIZE_64, 0xc1, 7, in_register(HOST_RAX)); /* SAR */
    write_byte(w, 16);
    host_emit(w, SIZE_64, 0x39, HOST_RSI, in_register(HOST_RAX)); /* CMP */
    trace_exit_if(trace, item, NOT_EQUAL);
}

void trace_jump_indirect(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    unsigned size = stack_size(trace), kind = item->does.kind;
    bool by_memory = kind == OPERATION_JUMP_M || kind == OPERATION_CALL_M;
    bool is_call = kind == OPERATION_CALL_R || kind == OPERATION_CALL_M;
    trace->host_flags = false;
    if (by_memory) {
        trace_address(trace, item, HOST_RSI, SIZE_64, true);
        trace_access(trace, item, 1u << size, ACCESS_READ);
    }
    host_load(w, size, HOST_RSI,
              by_memory ? in_memory(HOST_RSI, 0) : trace_place(item->decoded.rm));
    exit_if_noncanonical(trace, item);
    if (is_call) {
        /* Nothing else uses it meanwhile. */
        host_store(w, SIZE_64, CPU_AT(rip), HOST_RSI);
        push_return(trace, item);
        host_load(w, SIZE_64, HOST_RSI, CPU_AT(rip));
    }
    host_alu_number(w, SIZE_64, ALU_ADD, CPU_AT(executed), (int32_t)RUN_LENGTH(&item->decoded));
    trace_jump_to_common(trace, trace->translator->common.find);
}

/* By the entry that the call left; without one, the address is looked up. */
void trace_return(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    bool compat = trace->page->compat;
    unsigned size = compat ? SIZE_32 : SIZE_64;
    enum host sp = pinned_register(REG_RSP * 8);

    host_load(w, size, HOST_RSI, in_register(sp));
    trace_access(trace, item, 1u << size, ACCESS_READ);
    host_load(w, size, HOST_RSI, in_memory(HOST_RSI, 0));
    host_load(w, SIZE_32, HOST_RAX, CPU_AT(return_top));
    index_returns(trace);
    host_emit(w, SIZE_64, 0x39, HOST_RSI, RETURN_AT(va)); /* CMP */
    struct trace_exit *other = add_exit(trace, NOT_EQUAL);
    other->item = item;
    other->searches = true;
    host_load(w, SIZE_32, HOST_RSI, CPU_AT(generation));
    host_emit(w, SIZE_32, 0x39, HOST_RSI, RETURN_AT(generation)); /* CMP */
    trace_exit_if(trace, item, NOT_EQUAL);

    host_lea(w, size, sp, in_memory(sp, compat ? 4 : 8));
    host_alu_number(w, SIZE_32, ALU_SUB, CPU_AT(return_top), 1);
    host_load(w, SIZE_32, HOST_RSI, CPU_AT(budget));
    host_alu_number(w, SIZE_32, ALU_SUB, in_register(HOST_RSI), 1);
    host_store(w, SIZE_32, CPU_AT(budget), HOST_RSI);
    host_emit(w, SIZE_32, 0x0b, HOST_RSI, CPU_AT(attention)); /* OR */
    struct trace_exit *exit = add_exit(trace, NEGATIVE);
    exit->item = item;
    exit->returns = true;
    host_load(w, SIZE_64, HOST_RSI, RETURN_AT(page));
    host_store(w, SIZE_64, CPU_AT(r[REG_PAGE]), HOST_RSI);
    host_load(w, SIZE_64, HOST_RSI, RETURN_AT(insn));
    translate_enter_insn(w, RUN_LENGTH(&item->decoded),
                         writable(trace, trace->translator->common.enter));
}

/* A RET that was not executed yet, as an indirect jump. */
static void search_return(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    unsigned size = stack_size(trace);
    enum host sp = pinned_register(REG_RSP * 8);
    exit_if_noncanonical(trace, item);
    host_lea(w, size, sp, in_memory(sp, 1 << size));
    host_alu_number(w, SIZE_32, ALU_SUB, CPU_AT(return_top), 1);
    host_alu_number(w, SIZE_64, ALU_ADD, CPU_AT(executed), (int32_t)RUN_LENGTH(&item->decoded));
    trace_jump_to_common(trace, trace->translator->common.find);
}

/* A RET that was executed, to the address in the entry at RAX. */
static void leave_at_return(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    host_alu_number(w, SIZE_64, ALU_ADD, CPU_AT(executed), (int32_t)RUN_LENGTH(&item->decoded));
    host_load(w, SIZE_64, HOST_RSI, RETURN_AT(va));
    trace_jump_to_common(trace, trace->translator->common.leave);
}

void trace_finish_exits(struct trace *trace)
{
    const struct trace_item *last = NULL;
    const uint8_t *last_at = NULL;
    for (unsigned i = 0; i < trace->exit_count && !trace->w.full; i++) {
        const struct trace_exit *exit = &trace->exits[i];
        bool to_handler = !exit->link && !exit->returns && !exit->searches;
        if (to_handler && exit->item == last) {
            host_set_target(exit->jump, last_at);
            continue;
        }
        host_set_target(exit->jump, trace->w.at);
        if (exit->link && is_direct(trace, place_of(trace, exit->item), exit->link->va)) {
            follow_direct_link(trace, exit->link);
        } else if (exit->link) {
            follow_link(trace, exit->link);
        } else if (exit->returns) {
            leave_at_return(trace, exit->item);
        } else if (exit->searches) {
            search_return(trace, exit->item);
        } else {
            last = exit->item;
            last_at = trace->w.at;
            trace_to_handler(trace, exit->item->insn);
        }
    }
}
