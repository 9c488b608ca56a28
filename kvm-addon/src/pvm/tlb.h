/* The software TLB: fast paths of guest memory accesses, and their slow paths. */
#ifndef TSVM_PVM_TLB_H
#define TSVM_PVM_TLB_H

#include "cpu.h"

static inline struct tlb_entry *tlb_slot(struct cpu *cpu, uint64_t va)
{
    return &cpu->tlb[va >> 12 & (TLB_ENTRIES - 1)];
}

/*
 * Host address of [va, va + size) for a read, or NULL: look it up by the slow path. The tag
 * comparison also fails for an access that crosses into the next page. `size` is at most 8.
 */
static inline void *tlb_read(struct cpu *cpu, uint64_t va, unsigned size)
{
    const struct tlb_entry *entry = tlb_slot(cpu, va);
    bool hit = entry->read == ((va + size - 1) & PAGE_BASE);
    return __builtin_expect(hit, 1) ? entry->page + (va & PAGE_OFFSET) : (void *)0;
}

static inline void *tlb_write(struct cpu *cpu, uint64_t va, unsigned size)
{
    const struct tlb_entry *entry = tlb_slot(cpu, va);
    bool hit = entry->write == ((va + size - 1) & PAGE_BASE);
    return __builtin_expect(hit, 1) ? entry->page + (va & PAGE_OFFSET) : (void *)0;
}

/*
 * Slow paths. They save all registers, so that a handler's fast path needs no stack frame, and
 * are compiled without vector instructions. They fill the TLB, raise what the MMU would raise
 * (leaving through cpu_leave()), reach devices (engine_device_read() and -write()), keep track of
 * writes to code and page tables, and mark pages dirty. A write to code that this CPU may be
 * executing leaves by INTERPRETED_ONCE unless interpret_once() runs.
 */
#define TLB_SLOW __attribute__((no_caller_saved_registers, noinline, cold))
TLB_SLOW uint64_t tlb_load_slow(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size);
TLB_SLOW void tlb_store_slow(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                             uint64_t value);

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

/* Locked operations and compare-and-exchange that fail tlb_write(): see tlb.c for what is atomic.
 */
TLB_SLOW uint64_t tlb_exchange_slow(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                                    uint64_t value);
/* Stores `value` if memory holds `expected`; returns what it held. Checks write access first. */
TLB_SLOW uint64_t tlb_compare_exchange_slow(struct cpu *cpu, struct insn *insn, uint64_t va,
                                            unsigned size, uint64_t expected, uint64_t value);

/* Flushes; each drops decoded code's translations too and moves the generation on. */
void tlb_flush_all(struct cpu *cpu);
/* MOV CR3: what is not global. */
void tlb_flush_nonglobal(struct cpu *cpu);
void tlb_flush_page(struct cpu *cpu, uint64_t va);

#endif
