/* Decoded code of one vCPU, by virtual page and frame. */
#ifndef TSVM_PVM_CODE_CACHE_H
#define TSVM_PVM_CODE_CACHE_H

#include "cpu.h"

/* Drop this CPU's decoded code of a frame, and of all frames. */
void code_invalidate_frame(struct cpu *cpu, uint64_t frame);
void code_invalidate_all(struct cpu *cpu);
/*
 * Increments the generation of a mode (cpl == 3), which invalidates chained jumps and return
 * entries.
 */
void code_advance_generation(struct cpu *cpu, bool user);

/*
 * For cpu_set_cpl(): selects the code TLB of the CPL, which holds pages of one mode (cpu->compat).
 */
void code_choose(struct cpu *cpu);

/* For the flushes of tlb.c: code pages may be mapped to other frames from now on. */
enum code_flush { CODE_FLUSH_ALL, CODE_FLUSH_NONGLOBAL };
void code_flush_translations(struct cpu *cpu, enum code_flush what);
void code_flush_page(struct cpu *cpu, uint64_t va);

/* Returns 0 or -ENOMEM. */
int code_cache_init(struct cpu *cpu);
void code_cache_destroy(struct cpu *cpu);
/* Gives the memory of an empty cache back; in small pages from then on, until it is to grow. */
void code_cache_discard(struct cpu *cpu);
void code_cache_expect_growth(struct cpu *cpu);
/* Bytes of memory. From any thread. */
uint64_t code_cache_resident(const struct cpu *cpu);

#endif
