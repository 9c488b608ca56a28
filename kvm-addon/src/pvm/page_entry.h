/* An entry of the guest's page tables (SDM 3A 4.5, APM 2 5.3). */
#ifndef TSVM_PVM_PAGE_ENTRY_H
#define TSVM_PVM_PAGE_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#define ENTRY_PRESENT 0x1ull
#define ENTRY_WRITABLE 0x2ull
#define ENTRY_USER 0x4ull
#define ENTRY_ACCESSED 0x20ull
#define ENTRY_DIRTY 0x40ull
#define ENTRY_LARGE 0x80ull /* levels 2 and 3: a page, not a table */
#define ENTRY_GLOBAL 0x100ull
#define ENTRY_ADDRESS 0x000ffffffffff000ull
#define ENTRY_NO_EXECUTE (1ull << 63)

#define TABLE_ENTRIES 512u
/* The root's; with 5-level paging, which the engine hides, it would be 5. */
#define TABLE_LEVELS 4u

/* Bytes that an entry of this level maps. */
static inline uint64_t entry_span(unsigned level)
{
    return 1ull << (12 + 9 * (level - 1));
}

static inline unsigned entry_index(uint64_t va, unsigned level)
{
    return va >> (12 + 9 * (level - 1)) & (TABLE_ENTRIES - 1);
}

/* Whether a present entry maps a page, not a table. */
static inline bool entry_is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (level <= 3 && entry & ENTRY_LARGE);
}

#endif
