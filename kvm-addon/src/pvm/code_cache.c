/*
 * Pages of decoded code: a hash table by frame, so that all of a frame's are found when it is
 * written. Their number is bounded by the pool, that of the instructions by the arena.
 */
#include "code_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "breakpoints.h"
#include "code_arena.h"
#include "counters.h"
#include "engine.h"
#include "reserve.h"
#include "safepoint.h"
#include "tlb.h"
#include "walk.h"

/* Generations that are left before their number would start anew. */
#define GENERATION_MAX 0xffff0000u

/* A page that others write to without end; the order to pause is looked at in between. */
#define TRACK_TRIES 8

static unsigned hash(uint64_t frame)
{
    return (unsigned)(frame * 0x9e3779b97f4a7c15ull >> 32) & (CODE_BUCKETS - 1);
}

int code_cache_init(struct cpu *cpu)
{
    struct code_cache *code = calloc(1, sizeof(*code));
    cpu->code = code;
    if (!code)
        return -ENOMEM;
    code->arena = reserve_large(CODE_INSNS_MAX * sizeof(struct insn));
    code->pages = reserve_large(CODE_PAGES_MAX * sizeof(struct code_page));
    code->copies = reserve(CODE_PAGES_MAX * PAGE_SIZE);
    code->epoch = 1;
    code->user_clock = 1;
    /* The first flush clears all of the code TLBs. */
    cpu->code_tlb_fills[false].count = cpu->code_tlb_fills[true].count = FILLS_MAX + 1;
    return code->arena && code->pages && code->copies ? 0 : -ENOMEM;
}

void code_cache_destroy(struct cpu *cpu)
{
    struct code_cache *code = cpu->code;
    if (!code)
        return;
    release(code->arena, CODE_INSNS_MAX * sizeof(struct insn));
    release(code->pages, CODE_PAGES_MAX * sizeof(struct code_page));
    release(code->copies, CODE_PAGES_MAX * PAGE_SIZE);
    free(code);
    cpu->code = NULL;
}

uint64_t code_cache_resident(const struct cpu *cpu)
{
    const struct code_cache *code = cpu->code;
    return sizeof(*code) + reserve_resident(code->arena, CODE_INSNS_MAX * sizeof(struct insn)) +
           reserve_resident(code->pages, CODE_PAGES_MAX * sizeof(struct code_page)) +
           reserve_resident(code->copies, CODE_PAGES_MAX * PAGE_SIZE);
}

void code_advance_generation(struct cpu *cpu, bool user)
{
    cpu->generations[user] = ++cpu->code->last_generation;
    if (user == (cpu->cpl == 3))
        cpu->generation = cpu->generations[user];
}

static void clear_tlb(struct cpu *cpu, bool user)
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
    /* 32-bit and 64-bit code of the same page are decoded apart; the TLB holds those of one mode.
     */
    if (cpu->code->compat[user] != cpu->compat) {
        cpu->code->compat[user] = cpu->compat;
        clear_tlb(cpu, user);
    }
    cpu->code_tlb = cpu->code_tlbs[user];
    cpu->generation = cpu->generations[user];
}

void code_flush_translations(struct cpu *cpu, enum code_flush what)
{
    if (what == CODE_FLUSH_ALL || cpu->code->supervisor_below) {
        clear_tlb(cpu, false);
        cpu->code->supervisor_below = false;
    }
    clear_tlb(cpu, true);
}

void code_flush_page(struct cpu *cpu, uint64_t va)
{
    /*
     * Chained jumps hold longer than the entry of the page that they lead to, which another may
     * have replaced: so they lapse whether or not it is there. Kernels run in the upper half; what
     * they flush in the lower one is not their own code.
     */
    for (unsigned user = 0; user < 2; user++) {
        if (!user && !(va >> 63) && !cpu->code->supervisor_below)
            continue;
        struct code_tlb_entry *slot = &cpu->code_tlbs[user][code_slot(va)];
        if (slot->tag == (va & PAGE_BASE))
            *slot = (struct code_tlb_entry){.tag = TLB_NO_TAG};
        if (tlb_may_be_large(cpu, va))
            clear_tlb(cpu, user);
        else
            code_advance_generation(cpu, user);
    }
}

/* Whose decoded code was dropped. */
static void forget(struct cpu *cpu, struct code_page *page)
{
    struct code_tlb_entry *slot = &cpu->code_tlbs[page->user][code_slot(page->va)];
    if (slot->page == page)
        *slot = (struct code_tlb_entry){.tag = TLB_NO_TAG};
    if (page->base)
        memset(page->insns, 0, sizeof(page->insns));
    page->base = NULL;
    page->crossing = NULL;
    page->tracked = false;
    page->verified = 0;
}

void code_invalidate_frame(struct cpu *cpu, uint64_t frame)
{
    bool found[2] = {false, false};
    __atomic_fetch_and(&cpu->engine->frames.of[frame].code_cpus, ~(1u << cpu->index),
                       __ATOMIC_SEQ_CST);
    for (struct code_page *page = cpu->code->buckets[hash(frame)]; page; page = page->next) {
        if (page->frame != frame || !page->tracked)
            continue;
        forget(cpu, page);
        found[page->user] = true;
    }
    for (unsigned user = 0; user < 2; user++)
        if (found[user])
            code_advance_generation(cpu, user);
    cpu->counters->code_invalidations++;
}

void code_invalidate_all(struct cpu *cpu)
{
    struct code_cache *code = cpu->code;
    for (unsigned i = 0; i < code->page_count; i++) {
        struct code_page *page = &code->pages[i];
        __atomic_fetch_and(&cpu->engine->frames.of[page->frame].code_cpus, ~(1u << cpu->index),
                           __ATOMIC_SEQ_CST);
        forget(cpu, page);
    }
    clear_tlb(cpu, false);
    clear_tlb(cpu, true);
}

/* Everything starts anew. No decoded instruction is executing. */
void code_flush(struct cpu *cpu)
{
    struct code_cache *code = cpu->code;
    code_invalidate_all(cpu);
    memset(code->buckets, 0, sizeof(code->buckets));
    code->page_count = 0;
    code->insn_count = 0;
    if (code->last_generation > GENERATION_MAX) {
        code->last_generation = 0;
        clear_tlb(cpu, false);
        clear_tlb(cpu, true);
    }
    memset(cpu->returns, 0, sizeof(cpu->returns));
    cpu->counters->code_flushes++;
}

static struct code_page *find_page(const struct code_cache *code, uint64_t va, uint64_t frame,
                                   bool user, bool compat)
{
    struct code_page *page = code->buckets[hash(frame)];
    while (page && !(page->va == va && page->frame == frame && page->user == user &&
                     page->compat == compat))
        page = page->next;
    return page;
}

static struct code_page *add_page(struct cpu *cpu, uint64_t va, uint64_t frame, bool user,
                                  const uint8_t *host)
{
    struct code_cache *code = cpu->code;
    unsigned index = code->page_count++;
    struct code_page *page = &code->pages[index];
    struct code_page **bucket = &code->buckets[hash(frame)];
    /* Used before, maybe: `insns` were cleared when it lapsed. */
    page->va = va;
    page->frame = frame;
    page->user = user;
    page->compat = cpu->compat;
    page->host = host;
    page->copy = user ? code->copies + index * PAGE_SIZE : NULL;
    page->next = *bucket;
    *bucket = page;
    return page;
}

/* From here on stores to the frame are told to this CPU. May serve requests of others. */
static void track(struct cpu *cpu, struct code_page *page)
{
    struct frame *frame = &cpu->engine->frames.of[page->frame];
    __atomic_fetch_or(&frame->code_cpus, 1u << cpu->index, __ATOMIC_SEQ_CST);
    page->tracked = true;
    safepoint_protect_frame(cpu, page->frame);
}

struct code_page *code_page_at(struct cpu *cpu, uint64_t va, uint64_t rip)
{
    struct code_cache *code = cpu->code;
    bool user = cpu->cpl == 3;
    cpu->rip = rip;
    if (!walk_is_canonical(cpu, va))
        cpu_raise_error(cpu, NULL, VECTOR_GP, 0);
    struct walk_request request = {.va = va, .access = WALK_EXECUTE, .user = user};
    struct walk_result found = walk(cpu, &request);
    if (found.fault)
        cpu_raise_page_fault(cpu, NULL, va, found.error);
    uint64_t tag = va & PAGE_BASE, frame = found.gpa >> 12;
    const uint8_t *host = guest_memory_at(cpu->engine->memory, frame << 12, PAGE_SIZE);
    if (!host)
        cpu_leave(cpu, NULL, user ? INTERPRETED_NATIVE : INTERPRETED_STEP);

    struct code_page *page = find_page(code, tag, frame, user, cpu->compat);
    if (!page) {
        if (code->page_count == CODE_PAGES_MAX)
            return NULL;
        page = add_page(cpu, tag, frame, user, host);
    }
    /* While others are waited for, they may tell that the frame was written already. */
    for (unsigned tries = 0; !page->tracked; tries++) {
        if (tries == TRACK_TRIES)
            cpu_leave(cpu, NULL, INTERPRETED_ATTENTION);
        track(cpu, page);
    }
    if (user && page->verified != code->user_clock) {
        if (!page->verified || memcmp(page->copy, host, PAGE_SIZE) != 0) {
            if (page->base) {
                forget(cpu, page);
                page->tracked = true;
                code_advance_generation(cpu, true);
            }
            memcpy(page->copy, host, PAGE_SIZE);
        }
        page->verified = code->user_clock;
    }
    if (tag >> 63 && !found.global)
        cpu->upper_half_nonglobal = true;
    if (found.span != PAGE_SIZE)
        tlb_note_large_page(cpu, tag, found.span);
    if (!user && !(tag >> 63))
        code->supervisor_below = true;
    if (!breakpoints_in_code(cpu, va))
        cpu->code_tlb[code_slot(va)] = (struct code_tlb_entry){.tag = tag, .page = page};
    fills_note(&cpu->code_tlb_fills[user], code_slot(va));
    return page;
}

bool code_enter_user(struct cpu *cpu)
{
    struct code_cache *code = cpu->code;
    /* In this order: who is seen not to run any more has counted its run. */
    uint32_t running = __atomic_load_n(&cpu->engine->native_running, __ATOMIC_SEQ_CST);
    uint64_t epoch = __atomic_load_n(&cpu->engine->native_epoch, __ATOMIC_SEQ_CST);
    if (running == 0 && epoch == code->epoch)
        return false;
    code->epoch = epoch;
    code->user_clock++;
    clear_tlb(cpu, true);
    return true;
}

struct insn *code_lookup(struct cpu *cpu, uint64_t va)
{
    struct code_cache *code = cpu->code;
    cpu->rip = va;
    if (breakpoints_in_code(cpu, va))
        cpu_leave(cpu, NULL, INTERPRETED_ONCE);
    if (code->last_generation > GENERATION_MAX || CODE_INSNS_MAX - code->insn_count < CODE_RUN_MAX)
        code_flush(cpu);
    const struct code_tlb_entry *entry = &cpu->code_tlb[code_slot(va)];
    for (;;) {
        struct code_page *page =
            entry->tag == (va & PAGE_BASE) ? entry->page : code_page_at(cpu, va, va);
        unsigned distance = page ? page->insns[va & PAGE_OFFSET] : 0;
        if (distance)
            return page->base + distance;
        struct insn *insn = page ? code_decode_run(cpu, page, va) : NULL;
        if (insn)
            return insn;
        code_flush(cpu);
    }
}
