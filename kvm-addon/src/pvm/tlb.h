/* The software TLB: fast paths of guest memory accesses, and their slow paths. */
#ifndef TSVM_PVM_TLB_H
#define TSVM_PVM_TLB_H

#include "cpu.h"

static inline struct tlb_entry *tlb_slot(struct cpu *cpu, uint64_t va)
{
    return &cpu->tlb[va >> 12 & (TLB_ENTRIES - 1)];
}

/* What an entry that holds nothing has in place of its tags. */
static inline uint64_t tlb_no_tag(const struct cpu *cpu, const struct tlb_entry *entry)
{
    uint64_t slot = (uint64_t)(entry - &cpu->tlbs[0][0]);
    return TLB_NO_TAG ^ (slot & 1) << 12;
}

/* Not NULL: the compiler is told, so that the test of a hit is the only one. */
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

/*
 * Slow paths; handlers call them through stubs that save all registers (operands.h). They fill the
 * TLB, raise what the MMU would raise (leaving through cpu_leave()), reach devices (device_read()
 * and device_write()), keep track of writes to code and page tables, and mark pages dirty. A write
 * to a page that holds code of this CPU leaves by INTERPRETED_ONCE, unless cpu->once is set or
 * `insn` is NULL. `size` is 1, 2, 4 or 8.
 */
uint64_t tlb_load_slow(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size);
void tlb_store_slow(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size, uint64_t value);

/*
 * Locked operations and compare-and-exchange where tlb_write() fails or tlb_is_split(): the host
 * may punish a locked operation over two cache lines, or end the process for it. They are atomic
 * within a line (on code and page tables: within an aligned 8 bytes). Else each half is, none of
 * them comes between the halves of another, and plain stores that do are noticed.
 */
#define TLB_CACHE_LINE 64u
static inline bool tlb_is_split(uint64_t va, unsigned size)
{
    return (va & (TLB_CACHE_LINE - 1)) + size > TLB_CACHE_LINE;
}
uint64_t tlb_exchange_slow(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                           uint64_t value);
/* Stores `value` if memory holds `expected`; returns what it held. Checks write access first. */
uint64_t tlb_compare_exchange_slow(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                                   uint64_t expected, uint64_t value);
/* CMPXCHG16B; `va` is aligned. True: stored; else `expected` is what memory held. */
bool tlb_compare_exchange_16_slow(struct cpu *cpu, struct insn *insn, uint64_t va,
                                  uint64_t expected[2], const uint64_t value[2]);

/*
 * Host address of the byte at `va`, good to the end of its page, or NULL where the slow path must
 * do each access (a device; for writes also code and page tables). Raises as an access does.
 */
void *tlb_page(struct cpu *cpu, struct insn *insn, uint64_t va, bool is_write);
/* Copies of any length. tlb_copy_out() raises before anything is written. */
void tlb_copy_in(struct cpu *cpu, struct insn *insn, uint64_t va, void *to, unsigned length);
void tlb_copy_out(struct cpu *cpu, struct insn *insn, uint64_t va, const void *from,
                  unsigned length);

/*
 * Implicit supervisor accesses, whatever the CPL (descriptor tables, TSS, stacks of exception
 * delivery): they pass SMAP by no RFLAGS.AC. `size` is 1, 2, 4 or 8.
 */
uint64_t tlb_system_load(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size);
void tlb_system_store(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                      uint64_t value);

/* Flushes; each drops decoded code's translations too and moves the generations on. */
void tlb_flush_all(struct cpu *cpu);
/* MOV CR3: what is not global. */
void tlb_flush_nonglobal(struct cpu *cpu);
/* INVLPG: all of the page, also where it is a large one. */
void tlb_flush_page(struct cpu *cpu, uint64_t va);

/* For fills: a part of a page of `span` bytes, which is more than 4 KiB, is in a TLB now. */
void tlb_note_large_page(struct cpu *cpu, uint64_t va, uint64_t span);
/* Whether that may be so for the page at `va`. */
bool tlb_may_be_large(const struct cpu *cpu, uint64_t va);

/* For safepoint.c: write entries of a frame (and this CPU's bit in its write_cpus), or of all. */
void tlb_drop_frame_writes(struct cpu *cpu, uint64_t frame);
void tlb_drop_writes(struct cpu *cpu);

#endif
