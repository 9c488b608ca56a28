/* Decoded code of one vCPU, by virtual page and frame. */
#ifndef TSVM_PVM_CODE_CACHE_H
#define TSVM_PVM_CODE_CACHE_H

#include "cpu.h"

/*
 * Bounds for one vCPU: pages with decoded code, aliases of a frame included (8 KiB each, and 4 KiB
 * more for CPL 3's), and decoded instructions (32 bytes each). When one is reached, all of it goes.
 * Memory is touched as it is used.
 */
#define CODE_PAGES_MAX 768u
#define CODE_INSNS_MAX (160u << 10)

/* The decoded instructions of one page. */
struct code_page {
    uint64_t va;
    uint64_t frame;
    struct insn *base;      /* `insns` are distances from it */
    struct code_page *next; /* next page in the hash chain */
    uint64_t verified;      /* CPL 3: user_clock of the last comparison with `copy` */
    uint8_t *copy;          /* CPL 3: the decoded bytes */
    const uint8_t *host;    /* the page in guest memory */
    struct insn *crossing;  /* the last instruction decoded that goes on in the next page */
    uint8_t crossing_bytes[16];
    uint16_t crossing_offset;
    bool user;
    bool compat;
    bool tracked; /* this CPU's bit in the frame's code_cpus was set, and stores are seen */
    uint16_t insns[PAGE_SIZE]; /* by page offset: distance from `base`; 0: none */
};

/*
 * The place of a page in a code TLB. Kernels align parts of their code at 2 MiB: the first page of
 * one must not meet that of another at each system call.
 */
static inline unsigned code_slot(uint64_t va)
{
    return (va >> 12 ^ va >> 20) & (CODE_TLB_ENTRIES - 1);
}

/* Returns the decoded code at `va` if it is in the code TLB, else NULL. For the end of handlers. */
static inline struct insn *code_find(struct cpu *cpu, uint64_t va)
{
    const struct code_tlb_entry *entry = &cpu->code_tlb[code_slot(va)];
    if (__builtin_expect(entry->tag != (va & PAGE_BASE), 0))
        return (struct insn *)0;
    const struct code_page *page = entry->page;
    unsigned distance = page->insns[va & PAGE_OFFSET];
    return distance ? page->base + distance : (struct insn *)0;
}

/*
 * Translates and decodes. Raises what a fetch would raise (leaving through cpu_leave()); code in a
 * device window or outside RAM is KVM's: INTERPRETED_STEP, at CPL 3 INTERPRETED_NATIVE. Sets
 * cpu->rip.
 * Not to be called by handlers: the memory of any decoded instruction may be used anew.
 */
struct insn *code_lookup(struct cpu *cpu, uint64_t va);
/*
 * The same for interpret_once(): the instruction at `va` alone, decoded afresh. What follows it in
 * memory is an insn_page_end. Good until the next call.
 */
struct insn *code_decode_once(struct cpu *cpu, uint64_t va);

/*
 * Before CPL 3 is interpreted (each call of interpret()), and at its serializing instructions:
 * pages that native runs may have changed meanwhile are compared with what was decoded before they
 * are used again. True: they are, and that may concern the code that is executed now.
 */
bool code_enter_user(struct cpu *cpu);

/* Drops this CPU's decoded code of a frame; of all frames. */
void code_invalidate_frame(struct cpu *cpu, uint64_t frame);
void code_invalidate_all(struct cpu *cpu);
/* Increments the generation of a mode (cpl == 3), which invalidates chained jumps and return
 * entries. */
void code_advance_generation(struct cpu *cpu, bool user);

/* For cpu_set_cpl(): takes the code TLB of the CPL, which holds pages of one kind (cpu->compat). */
void code_choose(struct cpu *cpu);

/* For the flushes of tlb.c: virtual pages and frames of code part. */
enum code_flush { CODE_FLUSH_ALL, CODE_FLUSH_LOWER_HALF };
void code_flush_translations(struct cpu *cpu, enum code_flush what);
void code_flush_page(struct cpu *cpu, uint64_t va);

/* Returns 0 or -ENOMEM. */
int code_cache_init(struct cpu *cpu);
void code_cache_destroy(struct cpu *cpu);
/* Bytes of memory. From any thread. */
uint64_t code_cache_resident(const struct cpu *cpu);

#endif
