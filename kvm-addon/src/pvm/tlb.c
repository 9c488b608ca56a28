#include "tlb.h"

#include "arch.h"
#include "code_cache.h"
#include "engine.h"
#include "large_pages.h"

static void clear_entry(const struct cpu *cpu, struct tlb_entry *entry)
{
    uint64_t none = tlb_no_tag(cpu, entry);
    *entry = (struct tlb_entry){
        .read = none, .write = none, .page = cpu->engine->memory->regions[0].hva};
}

void tlb_flush_all(struct cpu *cpu)
{
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            clear_entry(cpu, &cpu->tlbs[mode][i]);
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        cpu->tlb_fills[mode].count = 0;
    code_flush_translations(cpu, CODE_FLUSH_ALL);
    large_pages_forget(cpu);
}

static void drop_nonglobal(struct cpu *cpu, enum tlb_mode mode)
{
    struct fills *fills = &cpu->tlb_fills[mode];
    bool all = fills->count > FILLS_MAX;
    unsigned count = all ? TLB_ENTRIES : fills->count;

    for (unsigned i = 0; i < count; i++) {
        struct tlb_entry *entry = &cpu->tlbs[mode][all ? i : fills->slots[i]];
        if (!entry->global)
            clear_entry(cpu, entry);
    }
    fills->count = 0;
}

void tlb_flush_nonglobal(struct cpu *cpu)
{
    if (!(cpu->sregs.cr4 & CR4_PGE)) {
        tlb_flush_all(cpu);
        return;
    }
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        drop_nonglobal(cpu, mode);
    code_flush_translations(cpu, CODE_FLUSH_NONGLOBAL);
    large_pages_forget_nonglobal(cpu);
}

void tlb_flush_page(struct cpu *cpu, uint64_t va)
{
    bool large = large_pages_may_have(cpu, va);
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        struct tlb_entry *slot = &cpu->tlbs[mode][va >> 12 & (TLB_ENTRIES - 1)];
        if (slot->read == (va & PAGE_BASE))
            clear_entry(cpu, slot);
        /* Drop all parts of a large page. */
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

/* Entries whose frames are compared at once: a few vector instructions. */
#define COMPARED 64u
_Static_assert(TLB_ENTRIES % COMPARED == 0, "no rest");

static bool has_frame(const uint32_t frames[COMPARED], uint32_t frame)
{
    uint32_t equal = 0;
    for (unsigned i = 0; i < COMPARED; i++)
        equal |= frames[i] == frame;
    return equal;
}

/* A vCPU does this for each frame that becomes a page table, and a kernel makes many. */
void tlb_drop_frame_writes(struct cpu *cpu, uint64_t frame)
{
    const uint8_t *page = guest_memory_at(cpu->engine->memory, frame << 12, PAGE_SIZE);
    struct tlb_entry *entries = &cpu->tlbs[0][0];
    const uint32_t *written = &cpu->written[0][0];
    for (unsigned i = 0; i < TLB_MODES * TLB_ENTRIES; i += COMPARED) {
        if (!has_frame(written + i, (uint32_t)frame))
            continue;
        for (unsigned j = i; j < i + COMPARED; j++)
            if (entries[j].page == page)
                drop_write(cpu, &entries[j]);
    }
    __atomic_fetch_and(&cpu->engine->frames.of[frame].write_cpus, ~(1u << cpu->index),
                       __ATOMIC_SEQ_CST);
}

void tlb_drop_writes(struct cpu *cpu)
{
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            drop_write(cpu, &cpu->tlbs[mode][i]);
}
