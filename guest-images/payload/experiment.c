#include "experiment.h"

#include "attempt.h"
#include "heap.h"
#include "string.h"

#define LEVELS 4

extern volatile uint64_t page_map_level_4[512];

uint64_t page_take(void)
{
    void *page = heap_take(PAGE_SIZE, PAGE_SIZE);
    memset(page, 0, PAGE_SIZE);
    return (uintptr_t)page;
}

static unsigned index_at(uint64_t va, unsigned level)
{
    return va >> (12 + 9 * (level - 1)) & 511;
}

volatile uint64_t *entry_at(uint64_t va, unsigned level)
{
    volatile uint64_t *table = page_map_level_4;

    for (unsigned at = LEVELS; at > level; at--) {
        volatile uint64_t *entry = &table[index_at(va, at)];
        if (!(*entry & PTE_PRESENT))
            *entry = page_take() | PTE_ALL | PTE_ACCESSED;
        table = (volatile uint64_t *)(*entry & PTE_ADDRESS);
    }
    return &table[index_at(va, level)];
}

volatile uint64_t *page_map(uint64_t va, uint64_t entry)
{
    volatile uint64_t *at = entry_at(va, 1);

    *at = entry;
    invlpg(va);
    return at;
}

void experiment_end(void)
{
    page_map_level_4[EXPERIMENT_INDEX] = 0;
    write_cr3(read_cr3());
}
