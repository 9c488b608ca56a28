/* How translated code goes on elsewhere: jumps, calls, returns, and exits to handlers. */
#include "translate.h"

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

static void jump_to_common(struct trace *trace, const uint8_t *code)
{
    uint8_t *jump = host_jump(&trace->w);
    if (!trace->w.full)
        host_set_target(jump, writable(trace, code));
}

static void jump_to_common_if(struct trace *trace, unsigned condition, const uint8_t *code)
{
    uint8_t *jump = host_jump_if(&trace->w, condition);
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

static struct translated_link *new_link(struct trace *trace, uint64_t va, unsigned count)
{
    struct translator *translator = trace->translator;
    struct translated_link *link = &translator->links[translator->link_count++];
    *link = (struct translated_link){.va = va, .count = count};
    return link;
}

#define LINK_AT(field) in_memory(HOST_RSI, (int32_t)offsetof(struct translated_link, field))

/* As handlers jump (ops_jump.h): a look at the orders, then at whether the target is still there.
 */
static void follow_link(struct trace *trace, const struct translated_link *link)
{
    struct code_writer *w = &trace->w;
    const struct translated_common *common = &trace->translator->common;

    host_load_number(w, HOST_RSI, (uintptr_t)link);
    host_load(w, SIZE_32, HOST_RAX, CPU_AT(budget));
    host_alu_number(w, SIZE_32, ALU_SUB, in_register(HOST_RAX), 1);
    host_store(w, SIZE_32, CPU_AT(budget), HOST_RAX);
    host_emit(w, SIZE_32, 0x0b, HOST_RAX, CPU_AT(attention)); /* OR */
    jump_to_common_if(trace, NEGATIVE, common->leave_link);
    host_load(w, SIZE_32, HOST_RAX, CPU_AT(generation));
    host_emit(w, SIZE_32, 0x3b, HOST_RAX, LINK_AT(generation)); /* CMP */
    jump_to_common_if(trace, NOT_EQUAL, common->bind);
    host_load(w, SIZE_64, HOST_RAX, LINK_AT(counted));
    host_emit(w, SIZE_64, 0x01, HOST_RAX, CPU_AT(executed)); /* ADD */
    if ((link->va & PAGE_BASE) != trace->page->va) {
        host_load_number(w, HOST_RAX, link->va & PAGE_BASE);
        host_store(w, SIZE_64, CPU_AT(r[REG_PAGE]), HOST_RAX);
    }
    host_emit(w, SIZE_32, 0xff, 4, LINK_AT(code)); /* JMP */
}

void trace_link(struct trace *trace, uint64_t va, unsigned count)
{
    follow_link(trace, new_link(trace, va, count));
}

void trace_link_if(struct trace *trace, unsigned condition, uint64_t va, unsigned count)
{
    struct trace_exit *exit = add_exit(trace, condition);
    exit->link = new_link(trace, va, count);
}

void trace_to_handler(struct trace *trace, const struct insn *insn)
{
    insn_handler *handler = translated_original(trace->cpu, insn);
    host_load_number(&trace->w, HOST_RSI, (uintptr_t)insn);
    host_load_number(&trace->w, HOST_RAX, (uintptr_t)handler);
    jump_to_common(trace, trace->translator->common.side_exit);
}

#define RETURN_AT(field)                                                                           \
    ((struct operand){.base = HOST_RDI,                                                            \
                      .index = HOST_RAX,                                                           \
                      .memory = true,                                                              \
                      .displacement = (int32_t)(offsetof(struct cpu, returns) +                    \
                                                offsetof(struct return_entry, field))})
#define INSN_AT(field) in_memory(HOST_RSI, (int32_t)offsetof(struct insn, field))

/* RAX, which has the number of an entry of the return stack, becomes its distance from the first.
 */
static void index_returns(struct trace *trace)
{
    host_alu_number(&trace->w, SIZE_32, ALU_AND, in_register(HOST_RAX), RETURN_STACK_ENTRIES - 1);
    host_emit(&trace->w, SIZE_32, 0xc1, 4, in_register(HOST_RAX)); /* SHL */
    write_byte(&trace->w, RETURN_SHIFT);
}

static void store_number(struct trace *trace, struct operand to, uint64_t number)
{
    host_load_number(&trace->w, HOST_RSI, number);
    host_store(&trace->w, SIZE_64, to, HOST_RSI);
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
    store_number(trace, RETURN_AT(insn), (uintptr_t)(item->insn + 1));
    host_load(w, SIZE_32, HOST_RSI, CPU_AT(generation));
    host_store(w, SIZE_32, RETURN_AT(generation), HOST_RSI);
}

void trace_call(struct trace *trace, const struct trace_item *item)
{
    uint64_t target = trace->page->va + (uint64_t)(int64_t)item->decoded.relative;
    push_return(trace, item);
    trace_link(trace, trace->page->compat ? (uint32_t)target : target, RUN_LENGTH(&item->decoded));
}

/* What the handler raises #GP for, or knows to be an address of other tables. */
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
        /* Nobody else uses it meanwhile. */
        host_store(w, SIZE_64, CPU_AT(rip), HOST_RSI);
        push_return(trace, item);
        host_load(w, SIZE_64, HOST_RSI, CPU_AT(rip));
    }
    host_alu_number(w, SIZE_64, ALU_ADD, CPU_AT(executed), (int32_t)RUN_LENGTH(&item->decoded));
    jump_to_common(trace, trace->translator->common.find);
}

/* By the entry that the call left; without one, the handler looks the address up. */
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
    trace_exit_if(trace, item, NOT_EQUAL);
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

/* A RET that was executed, to the address in the entry at RAX. */
static void leave_at_return(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    host_alu_number(w, SIZE_64, ALU_ADD, CPU_AT(executed), (int32_t)RUN_LENGTH(&item->decoded));
    host_load(w, SIZE_64, HOST_RSI, RETURN_AT(va));
    jump_to_common(trace, trace->translator->common.leave);
}

void trace_finish_exits(struct trace *trace)
{
    const struct trace_item *last = NULL;
    const uint8_t *last_at = NULL;
    for (unsigned i = 0; i < trace->exit_count && !trace->w.full; i++) {
        const struct trace_exit *exit = &trace->exits[i];
        bool to_handler = !exit->link && !exit->returns;
        if (to_handler && exit->item == last) {
            host_set_target(exit->jump, last_at);
            continue;
        }
        host_set_target(exit->jump, trace->w.at);
        if (exit->link) {
            follow_link(trace, exit->link);
        } else if (exit->returns) {
            leave_at_return(trace, exit->item);
        } else {
            last = exit->item;
            last_at = trace->w.at;
            trace_to_handler(trace, exit->item->insn);
        }
    }
}
