#include "large_pages.h"

#include <string.h>

/*
 * Kernels flush many pages of 4 KiB one by one, and have large pages elsewhere: the two must be
 * distinguished.
 */
static unsigned hash_2m(uint64_t va)
{
    return (va >> 21 ^ va >> 37) & (LARGE_PAGE_BITS - 1);
}

static unsigned hash_1g(uint64_t va)
{
    return (va >> 30 ^ va >> 36 ^ va >> 42) & 63;
}

void large_pages_note(struct cpu *cpu, uint64_t va, uint64_t span, bool global)
{
    struct large_pages *pages = &cpu->large_pages[va >> 63][global];
    unsigned bit = hash_2m(va);
    if (span > 1u << 21)
        pages->of_1g |= 1ull << hash_1g(va);
    else
        pages->of_2m[bit / 64] |= 1ull << bit % 64;
}

bool large_pages_may_have(const struct cpu *cpu, uint64_t va)
{
    const struct large_pages *pages = cpu->large_pages[va >> 63];
    unsigned bit = hash_2m(va);
    uint64_t of_1g = pages[0].of_1g | pages[1].of_1g;
    uint64_t of_2m = pages[0].of_2m[bit / 64] | pages[1].of_2m[bit / 64];
    return (of_1g >> hash_1g(va) & 1) || (of_2m >> bit % 64 & 1);
}

void large_pages_forget(struct cpu *cpu)
{
    memset(cpu->large_pages, 0, sizeof(cpu->large_pages));
}

void large_pages_forget_nonglobal(struct cpu *cpu)
{
    memset(&cpu->large_pages[0][false], 0, sizeof(cpu->large_pages[0][false]));
    memset(&cpu->large_pages[1][false], 0, sizeof(cpu->large_pages[1][false]));
}
