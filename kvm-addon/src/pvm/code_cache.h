/* Decoded code of one vCPU, by virtual page and frame. */
#ifndef TSVM_PVM_CODE_CACHE_H
#define TSVM_PVM_CODE_CACHE_H

#include "cpu.h"

/* The decoded instructions of one page; see code_cache.c for the bound on their number. */
struct code_page {
    uint64_t va;
    uint64_t frame;
    uint64_t epoch;         /* user pages: native_epoch() when it was last compared with its copy */
    struct code_page *next; /* others of the same hash chain */
    bool user;
    bool compat;
    uint32_t insns[PAGE_SIZE]; /* by page offset: index into the arena; 0: none */
    /* The rest is code_cache.c's. */
};

struct code_cache {
    struct insn *arena;
    /* The rest is code_cache.c's. */
};

/* Decoded code at `va` if it is at hand, else NULL: for the end of handlers. */
static inline struct insn *code_find(struct cpu *cpu, uint64_t va)
{
    const struct code_tlb_entry *entry = &cpu->code_tlb[va >> 12 & (CODE_TLB_ENTRIES - 1)];
    if (__builtin_expect(entry->tag != (va & PAGE_BASE), 0))
        return (struct insn *)0;
    uint32_t index = entry->page->insns[va & PAGE_OFFSET];
    return index ? cpu->code->arena + index : (struct insn *)0;
}

/*
 * Translates and decodes. Raises what a fetch would raise (leaving through cpu_leave()); code in a
 * device window or outside RAM is KVM's to step.
 */
struct insn *code_lookup(struct cpu *cpu, uint64_t va);

/*
 * The same for interpret_once(): the instruction at `va` alone, decoded afresh. What follows it in
 * memory is an insn_page_end. Good until the next call.
 */
struct insn *code_decode_once(struct cpu *cpu, uint64_t va);

/*
 * Before CPL 3 is interpreted (each call of interpret()): pages that native runs may have changed
 * meanwhile are compared with what was decoded before they are used again.
 */
void code_enter_user(struct cpu *cpu);

/* Drops this CPU's decoded code of a frame. */
void code_invalidate_frame(struct cpu *cpu, uint64_t frame);
/* Moves the generation of a mode (cpl == 3) on: chained jumps and return entries lapse. */
void code_advance_generation(struct cpu *cpu, bool user);

/* Returns 0 or -ENOMEM. */
int code_cache_init(struct cpu *cpu);
void code_cache_destroy(struct cpu *cpu);

#endif
