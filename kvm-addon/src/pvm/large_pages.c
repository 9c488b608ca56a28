#include "large_pages.h"

/* Kernels flush pages of 4 KiB one by one, a great many at their start, and all have large ones. */
static unsigned large_page_hash(uint64_t va)
{
    return (va >> 21 ^ va >> 37) & (LARGE_PAGE_BITS - 1);
}

void large_pages_note(struct cpu *cpu, uint64_t va, uint64_t span)
{
    struct large_pages *pages = &cpu->large_pages[va >> 63];
    unsigned bit = large_page_hash(va);
    if (span > 1u << 21)
        pages->huge = true;
    pages->bits[bit / 64] |= 1ull << bit % 64;
}

bool large_pages_may_have(const struct cpu *cpu, uint64_t va)
{
    const struct large_pages *pages = &cpu->large_pages[va >> 63];
    unsigned bit = large_page_hash(va);
    return pages->huge || pages->bits[bit / 64] >> bit % 64 & 1;
}
