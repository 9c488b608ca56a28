/* Which large pages the TLBs may hold parts of. */
#ifndef TSVM_PVM_LARGE_PAGES_H
#define TSVM_PVM_LARGE_PAGES_H

#include "cpu.h"

/* Records that a part of a page of `span` bytes, more than 4 KiB, is in a TLB. */
void large_pages_note(struct cpu *cpu, uint64_t va, uint64_t span);
/* Whether that may be so for the page at `va`. */
bool large_pages_may_have(const struct cpu *cpu, uint64_t va);

#endif
