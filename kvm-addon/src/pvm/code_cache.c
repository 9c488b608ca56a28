/*
 * Pages of decoded code: hash tables by frame, so that a write to a frame finds all of its pages.
 * Pools bound the numbers of pages and of instructions.
 */
#include "code_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "code_arena.h"
#include "counters.h"
#include "engine.h"
#include "large_pages.h"
#include "reserve.h"

static unsigned hash(uint64_t frame)
{
    return (unsigned)(frame * 0x9e3779b97f4a7c15ull >> 32) & (CODE_BUCKETS - 1);
}

static void init_pools(struct code_cache *code)
{
    code->pools[false].insns = code->arena;
    code->pools[false].insns_max = CODE_KERNEL_INSNS_MAX;
    code->pools[false].pages = code->pages;
    code->pools[false].pages_max = CODE_KERNEL_PAGES_MAX;
    code->pools[false].parts = code->parts;
    code->pools[false].part_count = 1;
    code->pools[false].parts_max = CODE_KERNEL_PARTS_MAX;
    code->pools[true].insns = code->arena + CODE_KERNEL_INSNS_MAX;
    code->pools[true].insns_max = CODE_USER_INSNS_MAX;
    code->pools[true].pages = code->pages + CODE_KERNEL_PAGES_MAX;
    code->pools[true].pages_max = CODE_USER_PAGES_MAX;
    code->pools[true].parts = code->parts + CODE_KERNEL_PARTS_MAX;
    code->pools[true].part_count = 1;
    code->pools[true].parts_max = CODE_USER_PARTS_MAX;
}

int code_cache_init(struct cpu *cpu)
{
    struct code_cache *code = calloc(1, sizeof(*code));
    cpu->code = code;
    if (!code)
        return -ENOMEM;
    code->arena = reserve_large(CODE_INSNS_MAX * sizeof(struct insn));
    code->pages = reserve(CODE_PAGES_MAX * sizeof(struct code_page));
    code->parts = reserve_large(CODE_PARTS_MAX * sizeof(struct code_part));
    code->copies = reserve(CODE_USER_PAGES_MAX * PAGE_SIZE);
    code->epoch = 1;
    code->user_clock = 1;
    /* The first flush clears all of the code TLBs. */
    cpu->code_tlb_fills[false].count = cpu->code_tlb_fills[true].count = FILLS_MAX + 1;
    if (!code->arena || !code->pages || !code->parts || !code->copies)
        return -ENOMEM;
    init_pools(code);
    return 0;
}

void code_cache_destroy(struct cpu *cpu)
{
    struct code_cache *code = cpu->code;
    if (!code)
        return;
    release(code->arena, CODE_INSNS_MAX * sizeof(struct insn));
    release(code->pages, CODE_PAGES_MAX * sizeof(struct code_page));
    release(code->parts, CODE_PARTS_MAX * sizeof(struct code_part));
    release(code->copies, CODE_USER_PAGES_MAX * PAGE_SIZE);
    free(code);
    cpu->code = NULL;
}

void code_cache_discard(struct cpu *cpu)
{
    struct code_cache *code = cpu->code;
    reserve_discard(code->arena, CODE_INSNS_MAX * sizeof(struct insn));
    reserve_discard(code->pages, CODE_PAGES_MAX * sizeof(struct code_page));
    reserve_discard(code->parts, CODE_PARTS_MAX * sizeof(struct code_part));
    reserve_discard(code->copies, CODE_USER_PAGES_MAX * PAGE_SIZE);
}

void code_cache_expect_growth(struct cpu *cpu)
{
    struct code_cache *code = cpu->code;
    reserve_in_large_pages(code->arena, CODE_INSNS_MAX * sizeof(struct insn));
    reserve_in_large_pages(code->parts, CODE_PARTS_MAX * sizeof(struct code_part));
}

uint64_t code_cache_resident(const struct cpu *cpu)
{
    const struct code_cache *code = cpu->code;
    return sizeof(*code) + reserve_resident(code->arena, CODE_INSNS_MAX * sizeof(struct insn)) +
           reserve_resident(code->pages, CODE_PAGES_MAX * sizeof(struct code_page)) +
           reserve_resident(code->parts, CODE_PARTS_MAX * sizeof(struct code_part)) +
           reserve_resident(code->copies, CODE_USER_PAGES_MAX * PAGE_SIZE);
}

void code_advance_generation(struct cpu *cpu, bool user)
{
    cpu->generations[user] = ++cpu->code->last_generation;
    if (user == (cpu->cpl == 3))
        cpu->generation = cpu->generations[user];
}

void code_clear_tlb(struct cpu *cpu, bool user)
{
    struct fills *fills = &cpu->code_tlb_fills[user];
    bool all = fills->count > FILLS_MAX;
    unsigned count = all ? CODE_TLB_ENTRIES : fills->count;

    for (unsigned i = 0; i < count; i++)
        cpu->code_tlbs[user][all ? i : fills->slots[i]].tag = TLB_NO_TAG;
    fills->count = 0;
    code_advance_generation(cpu, user);
}

void code_choose(struct cpu *cpu)
{
    bool user = cpu->cpl == 3;
    /*
     * 32-bit and 64-bit code of a page are decoded separately; the code TLB holds pages of one
     * mode.
     */
    if (cpu->code->compat[user] != cpu->compat) {
        cpu->code->compat[user] = cpu->compat;
        code_clear_tlb(cpu, user);
    }
    cpu->code_tlb = cpu->code_tlbs[user];
    cpu->generation = cpu->generations[user];
}

void code_flush_translations(struct cpu *cpu, enum code_flush what)
{
    if (what == CODE_FLUSH_ALL || cpu->code->supervisor_nonglobal) {
        code_clear_tlb(cpu, false);
        cpu->code->supervisor_below = false;
        cpu->code->supervisor_nonglobal = false;
    }
    code_clear_tlb(cpu, true);
}

/* Page numbers of 13 bits: neighbours never share a bit. */
static unsigned address_bit(uint64_t va)
{
    return (va >> 12 ^ va >> 25 ^ va >> 38) & (CODE_ADDRESS_BITS - 1);
}

/* Whether there may be decoded code at a page's virtual address. */
static bool may_have_code(const struct code_cache *code, uint64_t va)
{
    unsigned bit = address_bit(va);
    return (code->pools[0].addresses[bit / 64] | code->pools[1].addresses[bit / 64]) >> bit % 64 &
           1;
}

void code_flush_page(struct cpu *cpu, uint64_t va)
{
    bool large = large_pages_may_have(cpu, va);
    /* Kernels mostly flush data pages, which invalidates no chained jumps. */
    if (!large && !may_have_code(cpu->code, va))
        return;
    /*
     * Chained jumps stay valid longer than the code TLB entry of their target's page, which another
     * page may have replaced: so invalidate them whether or not it is present. Kernels run in the
     * upper half; the pages that they flush in the lower half are not their own code.
     */
    for (unsigned user = 0; user < 2; user++) {
        if (!user && !(va >> 63) && !cpu->code->supervisor_below)
            continue;
        struct code_tlb_entry *slot = &cpu->code_tlbs[user][code_slot(va)];
        if (slot->tag == (va & PAGE_BASE))
            *slot = (struct code_tlb_entry){.tag = TLB_NO_TAG};
        if (large)
            code_clear_tlb(cpu, user);
        else
            code_advance_generation(cpu, user);
    }
}

/* The parts stay the page's own. */
static void clear_parts(struct code_page *page)
{
    for (; page->used; page->used &= page->used - 1)
        memset(page->parts[__builtin_ctzll(page->used)], 0, sizeof(struct code_part));
}

void code_page_forget(struct cpu *cpu, struct code_page *page)
{
    struct code_tlb_entry *slot = &cpu->code_tlbs[page->user][code_slot(page->va)];
    if (slot->page == page)
        *slot = (struct code_tlb_entry){.tag = TLB_NO_TAG};
    clear_parts(page);
    page->crossing = NULL;
    page->tracked = false;
    page->verified = 0;
}

static struct code_page *skip_untracked(struct code_page *page, uint64_t frame)
{
    while (page && !(page->frame == frame && page->tracked))
        page = page->next;
    return page;
}

/* The tracked pages of a frame in a pool. */
static struct code_page *first_tracked(const struct code_pool *pool, uint64_t frame)
{
    return skip_untracked(pool->buckets[hash(frame)], frame);
}

static struct code_page *next_tracked(const struct code_page *page, uint64_t frame)
{
    return skip_untracked(page->next, frame);
}

/* From now on this CPU is not notified of stores to the frame. */
static void unmark(struct cpu *cpu, uint64_t frame)
{
    __atomic_fetch_and(&cpu->engine->frames.of[frame].code_cpus, ~(1u << cpu->index),
                       __ATOMIC_SEQ_CST);
}

void code_invalidate_frame(struct cpu *cpu, uint64_t frame)
{
    unmark(cpu, frame);
    for (unsigned user = 0; user < 2; user++) {
        struct code_page *page = first_tracked(&cpu->code->pools[user], frame);
        if (!page)
            continue;
        for (; page; page = next_tracked(page, frame))
            code_page_forget(cpu, page);
        code_advance_generation(cpu, user);
    }
    cpu->counters->code_invalidations++;
}

static void invalidate_pool(struct cpu *cpu, bool user)
{
    const struct code_pool *pool = &cpu->code->pools[user], *other = &cpu->code->pools[!user];
    for (unsigned i = 0; i < pool->page_count; i++) {
        struct code_page *page = &pool->pages[i];
        if (!first_tracked(other, page->frame))
            unmark(cpu, page->frame);
        code_page_forget(cpu, page);
    }
    code_clear_tlb(cpu, user);
}

void code_invalidate_all(struct cpu *cpu)
{
    invalidate_pool(cpu, false);
    invalidate_pool(cpu, true);
}

/* The generation that begins makes all entries of the return stack invalid as well. */
static void empty_pool(struct cpu *cpu, bool user)
{
    struct code_pool *pool = &cpu->code->pools[user];
    invalidate_pool(cpu, user);
    memset(pool->buckets, 0, sizeof(pool->buckets));
    memset(pool->addresses, 0, sizeof(pool->addresses));
    pool->page_count = 0;
    pool->insn_count = 0;
    pool->part_count = 1;
    pool->flushes++;
}

void code_flush(struct cpu *cpu)
{
    struct code_cache *code = cpu->code;
    empty_pool(cpu, false);
    empty_pool(cpu, true);
    if (code->last_generation > CODE_GENERATION_MAX) {
        code->last_generation = 0;
        code_clear_tlb(cpu, false);
        code_clear_tlb(cpu, true);
        memset(cpu->returns, 0, sizeof(cpu->returns));
    }
    cpu->counters->code_flushes++;
}

void code_flush_pool(struct cpu *cpu)
{
    if (cpu->code->last_generation > CODE_GENERATION_MAX) {
        code_flush(cpu);
        return;
    }
    empty_pool(cpu, cpu->cpl == 3);
    cpu->counters->code_flushes++;
}

static struct code_page *find_page(const struct code_pool *pool, uint64_t va, uint64_t frame,
                                   bool compat)
{
    struct code_page *page = pool->buckets[hash(frame)];
    while (page && !(page->va == va && page->frame == frame && page->compat == compat))
        page = page->next;
    return page;
}

struct code_page *code_page_get(struct cpu *cpu, uint64_t va, uint64_t frame, const uint8_t *host)
{
    struct code_pool *pool = code_pool(cpu);
    bool user = cpu->cpl == 3;
    struct code_page *page = find_page(pool, va, frame, cpu->compat);
    if (page || pool->page_count == pool->pages_max)
        return page;
    unsigned index = pool->page_count++;
    struct code_page **bucket = &pool->buckets[hash(frame)];
    page = &pool->pages[index];
    for (unsigned i = 0; i < CODE_PAGE_PARTS; i++)
        page->parts[i] = pool->parts;
    page->va = va;
    page->frame = frame;
    page->user = user;
    page->compat = cpu->compat;
    page->host = host;
    page->copy = user ? cpu->code->copies + index * PAGE_SIZE : NULL;
    page->next = *bucket;
    *bucket = page;
    unsigned bit = address_bit(va);
    pool->addresses[bit / 64] |= 1ull << bit % 64;
    return page;
}
