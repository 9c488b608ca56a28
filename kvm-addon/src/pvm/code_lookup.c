/* Lookup of decoded code by virtual address, with address translation and decoding. */
#include "code_lookup.h"

#include <string.h>

#include "arch.h"
#include "breakpoints.h"
#include "code_arena.h"
#include "code_cache.h"
#include "engine.h"
#include "large_pages.h"
#include "safepoint.h"
#include "walk.h"

/* Attempts to track a page that others keep writing to; between them orders are obeyed. */
#define TRACK_TRIES 8

/* From now on this CPU is notified of stores to the frame. May serve requests of other vCPUs. */
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
    const uint8_t *host = guest_memory_readable_at(cpu->engine->memory, frame << 12, PAGE_SIZE);
    if (!host)
        cpu_leave(cpu, NULL, user ? INTERPRETED_NATIVE : INTERPRETED_STEP);

    struct code_page *page = code_page_get(cpu, tag, frame, host);
    if (!page)
        return NULL;
    /* A request served while waiting may already report a store to the frame. */
    for (unsigned tries = 0; !page->tracked; tries++) {
        if (tries == TRACK_TRIES)
            cpu_leave(cpu, NULL, INTERPRETED_ATTENTION);
        track(cpu, page);
    }
    if (user && page->verified != code->user_clock) {
        if (!page->verified || memcmp(page->copy, host, PAGE_SIZE) != 0) {
            if (page->used || page->crossing) {
                code_page_forget(cpu, page);
                page->tracked = true;
                code_advance_generation(cpu, true);
            }
            memcpy(page->copy, host, PAGE_SIZE);
        }
        page->verified = code->user_clock;
    }
    if (found.span != PAGE_SIZE)
        large_pages_note(cpu, tag, found.span, found.global);
    if (!user && !(tag >> 63))
        code->supervisor_below = true;
    if (!user && !found.global)
        code->supervisor_nonglobal = true;
    if (!breakpoints_in_code(cpu, va))
        cpu->code_tlb[code_slot(va)] = (struct code_tlb_entry){.tag = tag, .page = page};
    fills_note(&cpu->code_tlb_fills[user], code_slot(va));
    return page;
}

bool code_enter_user(struct cpu *cpu)
{
    struct code_cache *code = cpu->code;
    /* In this order: a vCPU decrements native_running after it has incremented native_epoch. */
    uint32_t running = __atomic_load_n(&cpu->engine->native_running, __ATOMIC_SEQ_CST);
    uint64_t epoch = __atomic_load_n(&cpu->engine->native_epoch, __ATOMIC_SEQ_CST);
    if (running == 0 && epoch == code->epoch)
        return false;
    code->epoch = epoch;
    code->user_clock++;
    code_clear_tlb(cpu, true);
    return true;
}

struct insn *code_lookup(struct cpu *cpu, uint64_t va)
{
    const struct code_cache *code = cpu->code;
    const struct code_pool *pool = code_pool(cpu);
    cpu->rip = va;
    if (breakpoints_in_code(cpu, va))
        cpu_leave(cpu, NULL, INTERPRETED_ONCE);
    if (code->last_generation > CODE_GENERATION_MAX)
        code_flush(cpu);
    else if (pool->insns_max - pool->insn_count < CODE_RUN_MAX)
        code_flush_pool(cpu);
    const struct code_tlb_entry *entry = &cpu->code_tlb[code_slot(va)];
    for (;;) {
        struct code_page *page =
            entry->tag == (va & PAGE_BASE) ? entry->page : code_page_at(cpu, va, va);
        struct insn *insn = page ? code_page_find(page, va) : NULL;
        if (insn)
            return insn;
        insn = page ? code_decode_run(cpu, page, va) : NULL;
        if (insn)
            return insn;
        code_flush_pool(cpu);
    }
}
