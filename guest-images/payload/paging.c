#include "paging.h"

#include <stddef.h>

#include "heap.h"
#include "string.h"

#define TABLE_SIZE 4096
#define GIB_SHIFT 30
#define LARGE_PAGE_SHIFT 21
#define LARGE_PAGE_SIZE (1ull << LARGE_PAGE_SHIFT)
#define LEVEL_4_SHIFT 39

/* Present, writable, user, accessed; a large page is also dirty and large. */
#define TABLE_FLAGS 0x27
#define LARGE_PAGE_FLAGS 0xe7

extern uint64_t page_map_level_4[512];

static uint64_t *table_below(uint64_t *table, unsigned index)
{
    if (table[index] == 0) {
        void *below = heap_take(TABLE_SIZE, TABLE_SIZE);
        memset(below, 0, TABLE_SIZE);
        table[index] = (uintptr_t)below | TABLE_FLAGS;
    }
    return (uint64_t *)(table[index] & ~(uint64_t)(TABLE_SIZE - 1));
}

void paging_map(uint64_t base, uint64_t size)
{
    for (uint64_t page = base & ~(LARGE_PAGE_SIZE - 1); page < base + size;
         page += LARGE_PAGE_SIZE) {
        uint64_t *level_3 = table_below(page_map_level_4, page >> LEVEL_4_SHIFT & 511);
        uint64_t *level_2 = table_below(level_3, page >> GIB_SHIFT & 511);
        /* An entry that was not present needs no TLB flush. */
        level_2[page >> LARGE_PAGE_SHIFT & 511] = page | LARGE_PAGE_FLAGS;
    }
}
