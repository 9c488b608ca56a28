/* Pages of decoded code, and how handlers find an instruction in them. */
#ifndef TSVM_PVM_CODE_PAGE_H
#define TSVM_PVM_CODE_PAGE_H

#include "cpu.h"

/*
 * Bounds for one vCPU: pages with decoded code, aliases of a frame included (600 bytes each, and
 * 4 KiB more for CPL 3's), their parts that have any (136 bytes each), and decoded instructions (32
 * bytes each). When one is reached, the code of that privilege is dropped. Memory is allocated on
 * demand.
 */
#define CODE_KERNEL_PAGES_MAX 1536u
#define CODE_USER_PAGES_MAX 512u
#define CODE_PAGES_MAX (CODE_KERNEL_PAGES_MAX + CODE_USER_PAGES_MAX)
#define CODE_KERNEL_INSNS_MAX (208u << 10)
#define CODE_USER_INSNS_MAX (64u << 10)
#define CODE_INSNS_MAX (CODE_KERNEL_INSNS_MAX + CODE_USER_INSNS_MAX)
#define CODE_KERNEL_PARTS_MAX (20u << 10)
#define CODE_USER_PARTS_MAX (8u << 10)
#define CODE_PARTS_MAX (CODE_KERNEL_PARTS_MAX + CODE_USER_PARTS_MAX)

/* Bytes of code. */
#define CODE_PART 64u
#define CODE_PAGE_PARTS (PAGE_SIZE / CODE_PART)

/* The decoded instructions of a part of a page. */
struct code_part {
    struct insn *base;
    uint16_t insns[CODE_PART]; /* by offset in the part: distance from `base`; 0: none */
};

/* The decoded instructions of one page. */
struct code_page {
    uint64_t va;
    uint64_t frame;
    struct code_page *next; /* next page in the hash chain */
    uint64_t verified;      /* CPL 3: user_clock of the last comparison with `copy` */
    uint8_t *copy;          /* CPL 3: the decoded bytes */
    const uint8_t *host;    /* the page in guest memory */
    struct insn *crossing;  /* the last decoded instruction that extends into the next page */
    uint8_t crossing_bytes[16];
    uint16_t crossing_offset;
    bool user;
    bool compat;
    bool tracked;  /* this CPU's bit in the frame's code_cpus was set, and stores are seen */
    uint64_t used; /* bit set: this part has instructions */
    /* The pool's first part, which stays empty, where there were no instructions yet. */
    struct code_part *parts[CODE_PAGE_PARTS];
};

_Static_assert(CODE_PAGE_PARTS == 64, "bits of `used`");

/* The decoded instruction at an address in the page, or NULL. */
static inline struct insn *code_page_find(const struct code_page *page, uint64_t va)
{
    const struct code_part *part = page->parts[(va & PAGE_OFFSET) / CODE_PART];
    unsigned distance = part->insns[va % CODE_PART];
    return distance ? part->base + distance : (struct insn *)0;
}

/*
 * The place of a page in a code TLB. Kernels align parts of their code at 2 MiB: the first pages of
 * two such parts must not evict each other at each system call.
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
    return code_page_find(entry->page, va);
}

#endif
