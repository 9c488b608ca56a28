/* Which large pages the TLBs may hold parts of. */
#ifndef TSVM_PVM_LARGE_PAGES_H
#define TSVM_PVM_LARGE_PAGES_H

#include "cpu.h"

/* Records that a part of a page of `span` bytes, more than 4 KiB, is in a TLB. */
void large_pages_note(struct cpu *cpu, uint64_t va, uint64_t span, bool global);
/* Whether that may be so for the page at `va`. */
bool large_pages_may_have(const struct cpu *cpu, uint64_t va);
/* No TLB has parts of any, or of one that is not global. */
void large_pages_forget(struct cpu *cpu);
void large_pages_forget_nonglobal(struct cpu *cpu);

#endif
