/* Memory accesses with a page walk: the slow paths of tlb.h. */
#ifndef TSVM_PVM_ACCESS_H
#define TSVM_PVM_ACCESS_H

#include "cpu.h"

/* The part of an access that is within one page. */
struct access_part {
    uint8_t *at; /* host address; NULL: a device */
    uint64_t gpa;
    unsigned size;
    bool special; /* code or a page table: written by store_to_special() */
    bool watched; /* there are breakpoints in the page, which is in no TLB */
};

struct access {
    struct access_part parts[2];
    unsigned count;
};

/*
 * Walks for [va, va + size), `size` at most 8, with the rights of a TLB, and fills it. Raises a
 * page fault, or #GP(0) for an address that is not canonical. A write to code of this CPU leaves
 * by INTERPRETED_ONCE as tlb.h says.
 */
struct access access_translate(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                               unsigned size, bool is_write);

/* The same for all bytes to the end of the page. */
struct access_part access_page(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                               bool is_write);

uint64_t access_load(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                     unsigned size);
void access_store(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                  unsigned size, uint64_t value);

/* The mode of explicit accesses at the current CPL. */
static inline enum tlb_mode access_mode(const struct cpu *cpu)
{
    return (enum tlb_mode)((cpu->tlb - cpu->tlbs[0]) / TLB_ENTRIES);
}

#endif
