/* Chooses the instructions of a translation, and makes it the handler of the first. */
#include "decode.h"
#include "translate.h"

#include "code_arena.h"
#include "counters.h"
#include "heat.h"

/* A trace shorter than this costs more than it saves: registers are loaded and stored. */
#define TRACE_MIN 2u
/* Parts of one decoded run, between unsupported instructions, that are translated at once. */
#define STRETCHES_MAX 4u
#define CODE_ALIGNMENT 16u
#define INSN_BYTES_MAX 15u
#define TRACE_BYTES (TRACE_MAX * TRACE_INSN_BYTES)

/* The most frequent registers of kernels; the others stay in memory. */
enum host pinned_register(unsigned operand)
{
    static const uint8_t pinned[16] = {
        [REG_RAX] = HOST_R8,  [REG_RCX] = HOST_RCX, [REG_RDX] = HOST_RDX,  [REG_RBX] = HOST_RBX,
        [REG_RSP] = HOST_R9,  [REG_RBP] = HOST_RBP, [REG_RSI] = HOST_R10,  [REG_RDI] = HOST_R11,
        [REG_R8] = HOST_R15,  [REG_R9] = HOST_NONE, [REG_R10] = HOST_NONE, [REG_R11] = HOST_NONE,
        [REG_R12] = HOST_R12, [REG_R13] = HOST_R13, [REG_R14] = HOST_R14,  [REG_R15] = HOST_NONE,
    };
    return operand / 8 < 16 ? (enum host)pinned[operand / 8] : HOST_NONE;
}

/* The handler that a translation replaced is in front of its code. */
insn_handler *translated_original(const struct cpu *cpu, const struct insn *insn)
{
    insn_handler *handler = insn->handler;
    if (is_translated(cpu, handler))
        memcpy(&handler, (const uint8_t *)(uintptr_t)handler - sizeof handler, sizeof handler);
    return handler;
}

static bool contains(const struct trace *trace, const struct insn *insn)
{
    for (unsigned i = 0; i < trace->count; i++)
        if (trace->items[i].insn == insn)
            return true;
    return false;
}

static struct insn *decoded_at(const struct code_page *page, uint64_t va)
{
    return (va & PAGE_BASE) == page->va ? code_page_find(page, va) : NULL;
}

/*
 * Decodes the instruction again, because its handler may be a fused one. If another vCPU has
 * changed it meanwhile, it is not translated.
 */
static bool decode_again(const struct trace *trace, struct trace_item *item)
{
    const struct code_page *page = trace->page;
    const uint8_t *bytes = page->user ? page->copy : page->host;
    unsigned offset = insn_offset(item->insn);
    unsigned available = (unsigned)PAGE_SIZE - offset;
    bool ends;
    unsigned length =
        decode(bytes + offset, offset, available < INSN_BYTES_MAX ? available : INSN_BYTES_MAX,
               page->compat ? DECODE_COMPAT32 : DECODE_64, &item->decoded, &ends);
    item->decoded.ordinal = item->insn->ordinal;
    item->does = operation_of(item->decoded.handler);
    return length != 0 && length == insn_length(item->insn);
}

/*
 * The instruction that follows in the trace, or NULL after a jump that leaves it. Backward jumps
 * do: a loop has to check attention, and may consist of a trace and the handler at its end.
 */
static struct insn *follow(const struct trace *trace, const struct trace_item *item)
{
    switch (item->does.kind) {
    case OPERATION_GOTO:
        return item->insn->target;
    case OPERATION_JUMP: {
        uint64_t target = trace->page->va + (uint64_t)(int64_t)item->decoded.relative;
        if (trace->page->compat)
            target = (uint32_t)target;
        uint64_t from = trace->page->va + insn_offset(item->insn);
        struct insn *next = decoded_at(trace->page, target);
        return target > from && next && !contains(trace, next) ? next : NULL;
    }
    case OPERATION_JUMP_R ... OPERATION_RETURN:
    case OPERATION_PAGE_END:
        return NULL;
    default:
        return item->insn + 1;
    }
}

static void collect(struct trace *trace, struct insn *first)
{
    struct insn *insn = first;
    trace->count = 0;
    trace->end = TRACE_ENDS_ITSELF;
    while (insn) {
        trace->next = insn;
        struct operation does = operation_of(insn->handler);
        /* insn_goto and insn_page_end cannot be joined. */
        bool between = does.kind == OPERATION_GOTO || does.kind == OPERATION_PAGE_END;
        if (!between && (trace->count >= TRACE_MAX - 1 || contains(trace, insn))) {
            trace->end = TRACE_JOINS;
            return;
        }
        struct trace_item *item = &trace->items[trace->count];
        *item = (struct trace_item){.insn = insn, .does = does};
        if (between)
            item->decoded = *insn;
        if (!between && (!decode_again(trace, item) || !trace_supports(trace, item))) {
            trace->end = TRACE_UNSUPPORTED;
            return;
        }
        trace->count++;
        insn = follow(trace, item);
    }
}

/* For entries from a handler: PROLOGUE_BYTES. */
static void begin(struct trace *trace)
{
    struct code_writer *w = &trace->w;
    const uint8_t *entry = w->at + w->distance;
    host_emit_near(w, SIZE_64, OPCODE_LEA, HOST_RAX, entry + PROLOGUE_BYTES);
    trace_jump_to_common(trace, trace->translator->common.prologue);
}

static void emit_all(struct trace *trace)
{
    begin(trace);
    for (unsigned i = 0; i < trace->count;)
        i += trace_emit(trace, i);
    if (trace->end == TRACE_UNSUPPORTED)
        trace_to_handler(trace, trace->next);
    else if (trace->end == TRACE_JOINS)
        trace_link(trace, &trace->items[trace->count - 1],
                   trace->page->va + insn_offset(trace->next), trace->next->ordinal);
    trace_finish_exits(trace);
}

/* Writes the translation of what was collected from `first` on. False: there was no room. */
static bool write_trace(struct trace *trace, struct insn *first)
{
    struct translator *translator = trace->translator;
    struct translated_pool *pool = trace->pool;
    uint32_t links = pool->next_link;
    uint8_t *start = translator->code.writable + pool->used;
    insn_handler *original = translated_original(trace->cpu, first);
    trace->w = (struct code_writer){
        .at = start,
        .end = start + TRACE_BYTES,
        .distance = translator->code.executable - translator->code.writable,
    };
    trace->host_flags = false;
    trace->exit_count = 0;
    trace_find_flags(trace);
    write_bytes(&trace->w, &original, CODE_ALIGNMENT - sizeof original);
    write_bytes(&trace->w, &original, sizeof original);
    emit_all(trace);
    if (trace->w.full) {
        pool->next_link = links;
        return false;
    }
    executable_serialize();
    const uint8_t *entry = translator->code.executable + pool->used + CODE_ALIGNMENT;
    uint32_t length = (uint32_t)(trace->w.at - start);
    pool->used += (length + CODE_ALIGNMENT - 1) & ~(CODE_ALIGNMENT - 1);
    first->handler = (insn_handler *)(uintptr_t)entry;
    trace->cpu->counters->translations++;
    trace->cpu->counters->translated += trace->count;
    return true;
}

static bool has_room(const struct translated_pool *pool)
{
    return pool->used + TRACE_BYTES <= pool->end &&
           pool->next_link + TRACE_MAX * 2 <= pool->link_end;
}

/* The pool of translations of the current CPL. When that of decoded code was emptied, so was it. */
static struct translated_pool *follow_code_pool(struct cpu *cpu)
{
    struct translated_pool *pool = &cpu->translator->pools[cpu->cpl == 3];
    uint64_t flushes = code_pool(cpu)->flushes;
    if (pool->flushes != flushes) {
        pool->flushes = flushes;
        pool->used = pool->start;
        pool->next_link = pool->first_link;
    }
    if (!cpu->translator->has_common)
        translate_common(cpu);
    return pool;
}

bool translate(struct cpu *cpu, struct insn *insn)
{
    struct trace trace;
    const struct code_tlb_entry *entry = &cpu->code_tlb[code_slot(cpu->rip)];

    *heat_of(cpu, insn) = UINT8_MAX;
    if (!cpu->translator || entry->tag != (cpu->rip & PAGE_BASE))
        return true;
    trace.cpu = cpu;
    trace.translator = cpu->translator;
    trace.pool = follow_code_pool(cpu);
    trace.page = entry->page;
    for (unsigned i = 0; i < STRETCHES_MAX; i++) {
        if (is_translated(cpu, insn->handler) || insn_length(insn) == 0)
            return true;
        collect(&trace, insn);
        if (trace.count >= TRACE_MIN) {
            if (!has_room(trace.pool))
                return false;
            if (!write_trace(&trace, insn))
                return true;
        }
        if (trace.end != TRACE_UNSUPPORTED)
            return true;
        /* Each instruction is followed by another, or by the end of the run. */
        insn = trace.next + 1;
    }
    return true;
}
