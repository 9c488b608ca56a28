/* Memory operands of translated code: their addresses, and the TLB. */
#include "tlb.h"

#include "ops.h"
#include "translate.h"

_Static_assert(sizeof(struct tlb_entry) == 32, "the shift below");
#define ENTRY_SHIFT 5
#define ABOVE 7
#define NOT_ZERO 5

static bool is_register(unsigned operand)
{
    return operand / 8 < REG_ZERO;
}

void trace_address(struct trace *trace, const struct trace_item *item, enum host to, unsigned size,
                   bool is_access)
{
    const struct insn *insn = &item->decoded;
    bool narrow = item->does.addressing == ADDRESSING_NARROW;
    unsigned segment = is_access ? insn->scale >> 4 : 0;
    struct operand address = in_memory(HOST_NONE, insn->displacement);

    if (insn->base == REG_PAGE * 8) {
        uint64_t va = trace->page->va + (uint64_t)(int64_t)insn->displacement;
        host_load_number(&trace->w, to, narrow || size == SIZE_32 ? (uint32_t)va : va);
        address = in_memory(to, 0);
    } else if (insn->base != REG_ZERO * 8) {
        address.base = trace_load(trace, insn->base, HOST_RSI);
    }
    if (is_register(insn->index)) {
        address.index = trace_load(trace, insn->index, HOST_RAX);
        address.scale = insn->scale & 3;
    }
    if (address.base != to || address.index != HOST_NONE || address.displacement != 0 ||
        ((narrow || size == SIZE_32) && insn->base != REG_PAGE * 8))
        host_lea(&trace->w, narrow ? SIZE_32 : size, to, address);
    if (segment) {
        int32_t at = (int32_t)(offsetof(struct cpu, segment_base) + segment * 8);
        host_emit(&trace->w, SIZE_64, 0x03, to, in_cpu(at)); /* ADD */
        if (narrow)
            host_store(&trace->w, SIZE_32, in_register(to), to);
    }
}

/* The parts of a locked operation over two cache lines differ in the bit of the line's size. */
static void exit_if_split(struct trace *trace, const struct trace_item *item, unsigned bytes)
{
    if (bytes == 1)
        return;
    host_lea(&trace->w, SIZE_32, HOST_RAX, in_memory(HOST_RSI, (int32_t)bytes - 1));
    host_emit(&trace->w, SIZE_32, 0x31, HOST_RSI, in_register(HOST_RAX)); /* XOR */
    host_emit(&trace->w, SIZE_8, 0xf6, 0, in_register(HOST_RAX));         /* TEST */
    write_byte(&trace->w, TLB_CACHE_LINE);
    trace_exit_if(trace, item, NOT_ZERO);
}

void trace_access(struct trace *trace, const struct trace_item *item, unsigned bytes, unsigned how)
{
    struct code_writer *w = &trace->w;
    int32_t tag =
        how == ACCESS_READ ? offsetof(struct tlb_entry, read) : offsetof(struct tlb_entry, write);
    trace->host_flags = false;
    /* RAX: the entry; RSI: the address's difference from the page in it */
    host_store(w, SIZE_32, in_register(HOST_RAX), HOST_RSI);
    host_emit(w, SIZE_32, 0xc1, 5, in_register(HOST_RAX)); /* SHR */
    write_byte(w, 12 - ENTRY_SHIFT);
    host_alu_number(w, SIZE_32, ALU_AND, in_register(HOST_RAX), (TLB_ENTRIES - 1) << ENTRY_SHIFT);
    host_emit(w, SIZE_64, 0x03, HOST_RAX, CPU_AT(tlb));              /* ADD */
    host_emit(w, SIZE_64, 0x33, HOST_RSI, in_memory(HOST_RAX, tag)); /* XOR */
    host_alu_number(w, SIZE_64, ALU_CMP, in_register(HOST_RSI), (int32_t)(PAGE_SIZE - bytes));
    trace_exit_if(trace, item, ABOVE);
    /* Also after a mispredicted jump the access stays in the page: README.md, rule 1. */
    host_alu_number(w, SIZE_32, ALU_AND, in_register(HOST_RSI), PAGE_OFFSET);
    host_emit(w, SIZE_64, 0x03, HOST_RSI,
              in_memory(HOST_RAX, offsetof(struct tlb_entry, page))); /* ADD */
    if (how == ACCESS_LOCKED)
        exit_if_split(trace, item, bytes);
}

void trace_operand(struct trace *trace, const struct trace_item *item, unsigned how)
{
    trace_address(trace, item, HOST_RSI, SIZE_64, true);
    trace_access(trace, item, 1u << item->does.size, how);
}
