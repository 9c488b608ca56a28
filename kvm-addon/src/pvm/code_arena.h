/* Declarations shared by the files of the code cache. */
#ifndef TSVM_PVM_CODE_ARENA_H
#define TSVM_PVM_CODE_ARENA_H

#include "code_page.h"

#define CODE_BUCKETS 1024u
#define CODE_ADDRESS_BITS 8192u
/* Maximum number of decoded instructions that one lookup adds: a run and its terminator. */
#define CODE_RUN_INSNS 250u
#define CODE_RUN_MAX (CODE_RUN_INSNS + 2)
/* The number of generations after which the cache is flushed and their numbers start again. */
#define CODE_GENERATION_MAX 0xffff0000u

/*
 * The code of CPL 3, or that of CPL 0 to 2. Programs come and go, and what a kernel executes stays
 * the same: so each has bounds of its own, and is emptied alone.
 */
struct code_pool {
    struct insn *insns; /* its part of the arena */
    uint32_t insn_count;
    uint32_t insns_max;
    struct code_page *pages;
    uint32_t page_count;
    uint32_t pages_max;
    struct code_part *parts; /* those not handed out, and the first, have no instructions */
    uint32_t part_count;
    uint32_t parts_max;
    uint64_t flushes; /* how often it was emptied */
    struct code_page *buckets[CODE_BUCKETS];
    uint64_t addresses[CODE_ADDRESS_BITS /
                       64]; /* bit set: pages with this hash of their virtual address exist */
};

struct code_cache {
    struct insn *arena;
    struct code_page *pages;
    struct code_part *parts;
    uint8_t *copies;           /* of the pages of CPL 3, a page each */
    struct code_pool pools[2]; /* [cpl == 3] */
    uint32_t last_generation;
    uint64_t epoch;            /* native_epoch when CPL 3 was last entered */
    uint64_t user_clock;       /* incremented when user pages must be compared again */
    bool compat[2];            /* [cpl == 3]: which kind of pages the code TLB holds */
    bool supervisor_below;     /* CPL 0 ran code in the lower half */
    bool supervisor_nonglobal; /* and in pages that a load of CR3 drops */
    struct insn once[2];
};

/* The pool of the current CPL. */
static inline struct code_pool *code_pool(struct cpu *cpu)
{
    return &cpu->code->pools[cpu->cpl == 3];
}

/*
 * The page of a fetch from `va`, tracked and up to date, in the code TLB; NULL: the pool is full.
 * Raises with cpu->rip = rip.
 */
struct code_page *code_page_at(struct cpu *cpu, uint64_t va, uint64_t rip);

/* Decodes from `va`, which has no decoded instruction yet. NULL: the pool is full. */
struct insn *code_decode_run(struct cpu *cpu, struct code_page *page, uint64_t va);

/*
 * The code cache's page for this address and frame at the current CPL and mode; makes it if
 * necessary. NULL: the pool is full.
 */
struct code_page *code_page_get(struct cpu *cpu, uint64_t va, uint64_t frame, const uint8_t *host);
/* Drops the decoded code of a page. */
void code_page_forget(struct cpu *cpu, struct code_page *page);

/* Empties the code TLB of a mode (user: cpl == 3). */
void code_clear_tlb(struct cpu *cpu, bool user);
/*
 * Empties the pool of the current CPL, or both, with their translations. No decoded instruction may
 * be executing.
 */
void code_flush_pool(struct cpu *cpu);
void code_flush(struct cpu *cpu);

#endif
