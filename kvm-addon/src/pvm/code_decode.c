/* Runs of decoded instructions. */
#include <string.h>

#include "code_arena.h"
#include "code_lookup.h"
#include "counters.h"
#include "decode.h"

#define INSN_BYTES_MAX 15u

static const uint8_t *page_bytes(const struct code_page *page)
{
    return page->user ? page->copy : page->host;
}

/* Continues at `offset` from the start of this page, by a lookup. */
static struct insn page_end(unsigned ordinal, unsigned offset)
{
    return (struct insn){.handler = insn_page_end,
                         .ordinal = (uint8_t)ordinal,
                         .base = REG_ZERO * 8,
                         .index = REG_ZERO * 8,
                         .relative = (int32_t)offset};
}

static struct insn go_to(unsigned ordinal, struct insn *target)
{
    return (struct insn){.handler = insn_goto,
                         .ordinal = (uint8_t)ordinal,
                         .base = REG_ZERO * 8,
                         .index = REG_ZERO * 8,
                         .target = target};
}

static enum decode_mode decode_mode(const struct cpu *cpu)
{
    return cpu->compat ? DECODE_COMPAT32 : DECODE_64;
}

/* An instruction in two pages: the pages, and its bytes. */
struct crossing {
    struct code_page *page;
    struct code_page *next;
    uint8_t bytes[16];
};

/* From the code TLB, if present. */
static struct code_page *page_of(struct cpu *cpu, uint64_t va, uint64_t rip)
{
    const struct code_tlb_entry *entry = &cpu->code_tlb[code_slot(va)];
    return entry->tag == (va & PAGE_BASE) ? entry->page : code_page_at(cpu, va, rip);
}

/*
 * The next page's frame is tracked too. Each lookup translates that page again and compares the
 * bytes; chained jumps to the instruction become invalid with the generation of their mode. False:
 * the pool is full.
 */
static bool fetch_crossing(struct cpu *cpu, struct crossing *crossing, uint64_t va)
{
    unsigned offset = va & PAGE_OFFSET, have = (unsigned)(PAGE_SIZE - offset);
    uint64_t next_va = (va & PAGE_BASE) + PAGE_SIZE;
    if (cpu->compat)
        next_va &= UINT32_MAX;
    if (have > INSN_BYTES_MAX)
        have = INSN_BYTES_MAX;
    crossing->page = crossing->next = NULL;
    do {
        crossing->page = page_of(cpu, va, va);
        if (crossing->page)
            crossing->next = page_of(cpu, next_va, va);
        if (!crossing->page || !crossing->next)
            return false;
        /* Making the second may have invalidated the first. */
    } while (!crossing->page->tracked);
    memset(crossing->bytes, 0, sizeof(crossing->bytes));
    memcpy(crossing->bytes, page_bytes(crossing->page) + offset, have);
    memcpy(crossing->bytes + have, page_bytes(crossing->next), INSN_BYTES_MAX - have);
    return true;
}

static void decode_bytes(struct cpu *cpu, const uint8_t *bytes, unsigned offset,
                         struct insn insns[2])
{
    bool ends;
    unsigned length = decode(bytes, offset, INSN_BYTES_MAX, decode_mode(cpu), &insns[0], &ends);
    if (length == 0)
        cpu_leave(cpu, NULL, INTERPRETED_STEP); /* decode() never returns 0 for 15 bytes */
    insns[0].ordinal = 0;
    insns[1] = page_end(1, offset + length);
}

static struct insn *lookup_crossing(struct cpu *cpu, uint64_t va)
{
    unsigned offset = va & PAGE_OFFSET;
    struct crossing crossing;
    if (!fetch_crossing(cpu, &crossing, va))
        return NULL;
    struct code_page *page = crossing.page;
    if (page->crossing && page->crossing_offset == offset &&
        memcmp(page->crossing_bytes, crossing.bytes, sizeof(crossing.bytes)) == 0)
        return page->crossing;
    struct code_pool *pool = code_pool(cpu);
    if (pool->insns_max - pool->insn_count < 2)
        return NULL;
    struct insn *insns = pool->insns + pool->insn_count;
    decode_bytes(cpu, crossing.bytes, offset, insns);
    pool->insn_count += 2;
    cpu->counters->decoded++;
    page->crossing = insns;
    page->crossing_offset = (uint16_t)offset;
    memcpy(page->crossing_bytes, crossing.bytes, sizeof(crossing.bytes));
    return insns;
}

/* Whether a run has room, however many of its page's parts it needs. */
static bool has_room(const struct code_pool *pool)
{
    return pool->insns_max - pool->insn_count >= CODE_RUN_MAX &&
           pool->parts_max - pool->part_count >= CODE_PAGE_PARTS;
}

/* Makes the instruction known that was decoded at `offset`. */
static void enter(struct code_pool *pool, struct code_page *page, unsigned offset,
                  struct insn *insn)
{
    unsigned index = offset / CODE_PART;
    struct code_part **part = &page->parts[index];
    bool used = page->used >> index & 1;
    if (*part == pool->parts)
        *part = pool->parts + pool->part_count++;
    /* Distances have 16 bits: a part is decoded again whose instructions are too far away. */
    if (used && insn - (*part)->base > UINT16_MAX) {
        memset(*part, 0, sizeof(**part));
        used = false;
    }
    if (!used)
        (*part)->base = insn - 1;
    page->used |= 1ull << index;
    (*part)->insns[offset % CODE_PART] = (uint16_t)(insn - (*part)->base);
}

struct insn *code_decode_run(struct cpu *cpu, struct code_page *page, uint64_t va)
{
    struct code_pool *pool = code_pool(cpu);
    const uint8_t *bytes = page_bytes(page);
    unsigned offset = va & PAGE_OFFSET, count = 0;
    if (!has_room(pool))
        return NULL;
    struct insn *first = pool->insns + pool->insn_count, *at = first;
    for (;;) {
        struct insn *known = offset < PAGE_SIZE ? code_page_find(page, offset) : NULL;
        if (known) {
            *at++ = go_to(count, known);
            break;
        }
        bool ends = false;
        unsigned length = 0;
        if (offset < PAGE_SIZE && count < CODE_RUN_INSNS)
            length = decode(bytes + offset, offset, (unsigned)(PAGE_SIZE - offset),
                            decode_mode(cpu), at, &ends);
        if (length == 0) {
            if (count == 0)
                return lookup_crossing(cpu, va);
            *at++ = page_end(count, offset);
            break;
        }
        at->ordinal = (uint8_t)count++;
        enter(pool, page, offset, at++);
        offset += length;
        if (ends) {
            /* A return from the call, or the next single step, continues here. */
            *at++ = page_end(count, offset);
            break;
        }
    }
    for (unsigned i = count; i-- > 1;)
        decode_fuse(&first[i - 1], &first[i]);
    pool->insn_count += (uint32_t)(at - first);
    cpu->counters->decoded += count;
    return first;
}

struct insn *code_decode_once(struct cpu *cpu, uint64_t va)
{
    struct insn *once = cpu->code->once;
    unsigned offset = va & PAGE_OFFSET, have = (unsigned)(PAGE_SIZE - offset);
    if (have > INSN_BYTES_MAX)
        have = INSN_BYTES_MAX;
    cpu->rip = va;
    for (;;) {
        struct code_page *page = code_page_at(cpu, va, va);
        struct crossing crossing;
        bool ends;
        unsigned length = 0;
        if (page)
            length =
                decode(page_bytes(page) + offset, offset, have, decode_mode(cpu), &once[0], &ends);
        if (length) {
            once[0].ordinal = 0;
            once[1] = page_end(1, offset + length);
            return once;
        }
        /* The next page may fault only if the instruction extends into it. */
        if (page && fetch_crossing(cpu, &crossing, va)) {
            decode_bytes(cpu, crossing.bytes, offset, once);
            return once;
        }
        code_flush_pool(cpu);
    }
}
