/* Filling and flushing of the software TLB. */
#include "tlb.h"

#include <string.h>

#include "access.h"
#include "arch.h"
#include "breakpoints.h"
#include "code_cache.h"
#include "engine.h"
#include "safepoint.h"
#include "walk.h"

static void clear_entry(const struct cpu *cpu, struct tlb_entry *entry)
{
    uint64_t none = tlb_no_tag(cpu, entry);
    *entry = (struct tlb_entry){
        .read = none, .write = none, .page = cpu->engine->memory->regions[0].hva};
}

/* Kernels have global pages alone in the upper half, or all is dropped; see below. */
static bool is_dropped_with_cr3(enum tlb_mode mode, uint64_t tag)
{
    return mode == TLB_USER || !(tag >> 63);
}

/* A write to a frame of which this CPU may be executing decoded code must end the run. */
static void check_own_code(struct cpu *cpu, struct insn *insn, const struct frame *frame)
{
    uint32_t code = __atomic_load_n(&frame->code_cpus, __ATOMIC_RELAXED);
    if (insn && !cpu->once && code & 1u << cpu->index)
        cpu_leave(cpu, insn, INTERPRETED_ONCE);
}

struct access_part access_page(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                               bool is_write)
{
    if (!walk_is_canonical(cpu, va))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    struct walk_request request = {.va = va,
                                   .access = is_write ? WALK_WRITE : WALK_READ,
                                   .user = mode == TLB_USER,
                                   .smap_passes = mode == TLB_SUPERVISOR_AC};
    struct walk_result found = walk(cpu, &request);
    if (found.fault)
        cpu_raise_page_fault(cpu, insn, va, found.error);
    uint64_t tag = va & PAGE_BASE, page_gpa = found.gpa & PAGE_BASE;
    unsigned size = (unsigned)(PAGE_SIZE - (va & PAGE_OFFSET));
    uint8_t *page = guest_memory_at(cpu->engine->memory, page_gpa, PAGE_SIZE);
    if (!page)
        return (struct access_part){.gpa = found.gpa, .size = size};

    struct frame *frame = frame_at(&cpu->engine->frames, page_gpa);
    struct access_part part = {.at = page + (va & PAGE_OFFSET), .gpa = found.gpa, .size = size};
    if (breakpoints_in_data(cpu, va)) {
        part.watched = true;
        part.special = is_write && !frame_claim_write(frame, cpu->index);
        if (part.special)
            check_own_code(cpu, insn, frame);
        return part;
    }
    struct tlb_entry *entry = &cpu->tlbs[mode][va >> 12 & (TLB_ENTRIES - 1)];
    if (entry->read != tag || entry->page != page)
        entry->write = tlb_no_tag(cpu, entry);
    if (entry->read != tag && is_dropped_with_cr3(mode, tag))
        fills_note(&cpu->tlb_fills[mode], (unsigned)(entry - cpu->tlbs[mode]));
    entry->read = tag;
    entry->page = page;
    entry->span = found.span;
    if (tag >> 63 && !found.global)
        cpu->upper_half_nonglobal = true;
    if (found.span != PAGE_SIZE)
        tlb_note_large_page(cpu, tag, found.span);

    if (!is_write) {
        /* What was written before is likely to be again, and costs nobody anything then. */
        uint32_t writers = __atomic_load_n(&frame->write_cpus, __ATOMIC_RELAXED);
        if (found.writable && writers & 1u << cpu->index &&
            __atomic_load_n(&frame->flags, __ATOMIC_RELAXED) & FRAME_DIRTY &&
            frame_claim_write(frame, cpu->index))
            entry->write = tag;
        return part;
    }
    part.special = !frame_claim_write(frame, cpu->index);
    if (part.special)
        check_own_code(cpu, insn, frame);
    else
        entry->write = tag;
    return part;
}

void *tlb_page(struct cpu *cpu, struct insn *insn, uint64_t va, bool is_write)
{
    void *hit = is_write ? tlb_write(cpu, va, 1) : tlb_read(cpu, va, 1);
    if (hit)
        return hit;
    struct access_part part = access_page(cpu, insn, access_mode(cpu), va, is_write);
    return part.special || part.watched ? NULL : part.at;
}

void tlb_flush_all(struct cpu *cpu)
{
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            clear_entry(cpu, &cpu->tlbs[mode][i]);
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        cpu->tlb_fills[mode].count = 0;
    code_flush_translations(cpu, CODE_FLUSH_ALL);
    cpu->upper_half_nonglobal = false;
    memset(cpu->large_pages, 0, sizeof(cpu->large_pages));
}

static void drop_with_cr3(struct cpu *cpu, enum tlb_mode mode)
{
    struct fills *fills = &cpu->tlb_fills[mode];
    bool all = fills->count > FILLS_MAX;
    unsigned count = all ? TLB_ENTRIES : fills->count;

    for (unsigned i = 0; i < count; i++) {
        struct tlb_entry *entry = &cpu->tlbs[mode][all ? i : fills->slots[i]];
        if (is_dropped_with_cr3(mode, entry->read))
            clear_entry(cpu, entry);
    }
    fills->count = 0;
}

void tlb_flush_nonglobal(struct cpu *cpu)
{
    /* What lies in the upper half is global, or else all goes. */
    if (cpu->upper_half_nonglobal || !(cpu->sregs.cr4 & CR4_PGE)) {
        tlb_flush_all(cpu);
        return;
    }
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        drop_with_cr3(cpu, mode);
    code_flush_translations(cpu, CODE_FLUSH_LOWER_HALF);
    memset(&cpu->large_pages[0], 0, sizeof(cpu->large_pages[0]));
}

/* Kernels flush pages of 4 KiB one by one, a great many at their start, and all have large ones. */
static unsigned large_page_hash(uint64_t va)
{
    return (va >> 21 ^ va >> 37) & (LARGE_PAGE_BITS - 1);
}

void tlb_note_large_page(struct cpu *cpu, uint64_t va, uint64_t span)
{
    struct large_pages *pages = &cpu->large_pages[va >> 63];
    unsigned bit = large_page_hash(va);
    if (span > 1u << 21)
        pages->huge = true;
    pages->bits[bit / 64] |= 1ull << bit % 64;
}

bool tlb_may_be_large(const struct cpu *cpu, uint64_t va)
{
    const struct large_pages *pages = &cpu->large_pages[va >> 63];
    unsigned bit = large_page_hash(va);
    return pages->huge || pages->bits[bit / 64] >> bit % 64 & 1;
}

void tlb_flush_page(struct cpu *cpu, uint64_t va)
{
    bool large = tlb_may_be_large(cpu, va);
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        struct tlb_entry *slot = &cpu->tlbs[mode][va >> 12 & (TLB_ENTRIES - 1)];
        if (slot->read == (va & PAGE_BASE))
            clear_entry(cpu, slot);
        /* A large page goes as a whole, of which any part may be here. */
        for (unsigned i = 0; large && i < TLB_ENTRIES; i++) {
            struct tlb_entry *entry = &cpu->tlbs[mode][i];
            if (!(entry->read & PAGE_OFFSET) && (entry->read ^ va) < entry->span)
                clear_entry(cpu, entry);
        }
    }
    code_flush_page(cpu, va);
}

static void drop_write(const struct cpu *cpu, struct tlb_entry *entry)
{
    entry->write = tlb_no_tag(cpu, entry);
}

void tlb_drop_frame_writes(struct cpu *cpu, uint64_t frame)
{
    const uint8_t *page = guest_memory_at(cpu->engine->memory, frame << 12, PAGE_SIZE);
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            if (cpu->tlbs[mode][i].page == page)
                drop_write(cpu, &cpu->tlbs[mode][i]);
    __atomic_fetch_and(&cpu->engine->frames.of[frame].write_cpus, ~(1u << cpu->index),
                       __ATOMIC_SEQ_CST);
}

void tlb_drop_writes(struct cpu *cpu)
{
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            drop_write(cpu, &cpu->tlbs[mode][i]);
}
