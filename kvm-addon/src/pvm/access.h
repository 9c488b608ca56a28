/* Accesses to guest memory that tlb_read() and tlb_write() do not serve. */
#ifndef TSVM_PVM_ACCESS_H
#define TSVM_PVM_ACCESS_H

#include "cpu.h"

/*
 * Slow paths; handlers call them through stubs that save all registers (operands.h). They fill the
 * TLB, raise what the MMU would raise (leaving through cpu_leave()), reach devices (device_read()
 * and device_write()), keep track of writes to code and page tables, and mark pages dirty. A write
 * to a page that holds code of this CPU leaves by INTERPRETED_ONCE, unless cpu->once is set or
 * `insn` is NULL. `size` is 1, 2, 4 or 8.
 */
uint64_t access_load(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size);
void access_store(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size, uint64_t value);

/*
 * Locked operations and compare-and-exchange where tlb_write() fails or tlb_is_split(): the host
 * may delay a process for a locked operation on two cache lines (split lock), or kill it. They are
 * atomic within a line (on code and page tables: within 8 aligned bytes). Otherwise each half is
 * atomic, two such operations never interleave, and a plain store between the halves is detected.
 */
uint64_t access_exchange(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                         uint64_t value);
/* Stores `value` if memory holds `expected`; returns what it held. Checks write access first. */
uint64_t access_compare_exchange(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                                 uint64_t expected, uint64_t value);
/* CMPXCHG16B; `va` is aligned. True: stored; else `expected` is what memory held. */
bool access_compare_exchange_16(struct cpu *cpu, struct insn *insn, uint64_t va,
                                uint64_t expected[2], const uint64_t value[2]);

/*
 * Host address of the byte at `va`, good to the end of its page, or NULL where the slow path must
 * do each access (a device; for writes also code and page tables). Raises as an access does.
 */
void *access_host_page(struct cpu *cpu, struct insn *insn, uint64_t va, bool is_write);
/* Copies of any length. access_copy_out() raises before anything is written. */
void access_copy_in(struct cpu *cpu, struct insn *insn, uint64_t va, void *to, unsigned length);
void access_copy_out(struct cpu *cpu, struct insn *insn, uint64_t va, const void *from,
                     unsigned length);

/*
 * Implicit supervisor accesses, at any CPL (descriptor tables, TSS, stacks of exception delivery):
 * SMAP applies to them even if RFLAGS.AC is set. `size` is 1, 2, 4 or 8.
 */
uint64_t access_system_load(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size);
void access_system_store(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                         uint64_t value);

/* ---- for the files access*.c ---- */

/* The part of an access that is within one page. */
struct access_part {
    uint8_t *at; /* host address; NULL: a device */
    uint64_t gpa;
    unsigned size;
    bool special; /* code or a page table: written by store_to_special() */
    bool watched; /* the page has breakpoints, so it is in no TLB */
};

struct access {
    struct access_part parts[2];
    unsigned count;
};

/*
 * Walks for [va, va + size), `size` at most 8, with the rights of a TLB, and fills it. Raises a
 * page fault, or #GP(0) for an address that is not canonical. A write to code of this CPU leaves by
 * INTERPRETED_ONCE, as above.
 */
struct access access_translate(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                               unsigned size, bool is_write);

/* The same for all bytes to the end of the page. */
struct access_part access_page(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                               bool is_write);

/* The same as access_load() and access_store() with the rights of a TLB. */
uint64_t access_load_as(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                        unsigned size);
void access_store_as(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                     unsigned size, uint64_t value);

/* The mode of explicit accesses at the current CPL. */
static inline enum tlb_mode access_mode(const struct cpu *cpu)
{
    return (enum tlb_mode)((cpu->tlb - cpu->tlbs[0]) / TLB_ENTRIES);
}

#endif
