/* The software TLB: fast paths of guest memory accesses (access.h has the others), and flushes. */
#ifndef TSVM_PVM_TLB_H
#define TSVM_PVM_TLB_H

#include "cpu.h"

static inline struct tlb_entry *tlb_slot(struct cpu *cpu, uint64_t va)
{
    return &cpu->tlb[va >> 12 & (TLB_ENTRIES - 1)];
}

/* The tag of an empty entry. */
static inline uint64_t tlb_no_tag(const struct cpu *cpu, const struct tlb_entry *entry)
{
    uint64_t slot = (uint64_t)(entry - &cpu->tlbs[0][0]);
    return TLB_NO_TAG ^ (slot & 1) << 12;
}

/* Never NULL, which the compiler is told, so that a hit is tested only once. */
static inline void *tlb_place(const struct tlb_entry *entry, uint64_t va)
{
    uint8_t *place = entry->page + (va & PAGE_OFFSET);
    if (!place)
        __builtin_unreachable();
    return place;
}

/*
 * Host address of [va, va + size) for a read, or NULL: look it up by the slow path. The tag
 * comparison also fails for an access that crosses into the next page. `size` is at most 8.
 */
static inline void *tlb_read(struct cpu *cpu, uint64_t va, unsigned size)
{
    const struct tlb_entry *entry = tlb_slot(cpu, va);
    bool hit = entry->read == ((va + size - 1) & PAGE_BASE);
    return __builtin_expect(hit, 1) ? tlb_place(entry, va) : (void *)0;
}

static inline void *tlb_write(struct cpu *cpu, uint64_t va, unsigned size)
{
    const struct tlb_entry *entry = tlb_slot(cpu, va);
    bool hit = entry->write == ((va + size - 1) & PAGE_BASE);
    return __builtin_expect(hit, 1) ? tlb_place(entry, va) : (void *)0;
}

/* Whether an access lies in two cache lines. */
#define TLB_CACHE_LINE 64u
static inline bool tlb_is_split(uint64_t va, unsigned size)
{
    return (va & (TLB_CACHE_LINE - 1)) + size > TLB_CACHE_LINE;
}

/*
 * The only way to set a write tag: tlb_drop_frame_writes() looks for entries by the frame. Its
 * number's low 32 bits suffice: few others have the same.
 */
static inline void tlb_set_write(struct cpu *cpu, struct tlb_entry *entry, uint64_t tag,
                                 uint64_t frame)
{
    entry->write = tag;
    (&cpu->written[0][0])[entry - &cpu->tlbs[0][0]] = (uint32_t)frame;
}

/* Flushes; each drops decoded code's translations too and moves the generations on. */
void tlb_flush_all(struct cpu *cpu);
/* MOV CR3: what is not global (SDM 3A 4.10.4.1). */
void tlb_flush_nonglobal(struct cpu *cpu);
/* INVLPG: all of the page, also where it is a large one. */
void tlb_flush_page(struct cpu *cpu, uint64_t va);

/* For safepoint.c: write entries of a frame (and this CPU's bit in its write_cpus), or of all. */
void tlb_drop_frame_writes(struct cpu *cpu, uint64_t frame);
void tlb_drop_writes(struct cpu *cpu);

#endif
