/* Page tables for experiments: 4 KiB pages at addresses that nothing else uses. */
#ifndef PAYLOAD_EXPERIMENT_H
#define PAYLOAD_EXPERIMENT_H

#include <stdint.h>

#define PAGE_SIZE 4096ull
#define PTE_PRESENT 0x1ull
#define PTE_WRITABLE 0x2ull
#define PTE_USER 0x4ull
#define PTE_ACCESSED 0x20ull
#define PTE_DIRTY 0x40ull
#define PTE_LARGE 0x80ull
#define PTE_NO_EXECUTE (1ull << 63)
#define PTE_ALL (PTE_PRESENT | PTE_WRITABLE | PTE_USER)
#define PTE_ADDRESS 0x000ffffffffff000ull

/* Address range of experiments: one entry of the top-level table, which nothing else uses. */
#define EXPERIMENT 0x10000000000ull
#define EXPERIMENT_INDEX 2

/* A zeroed page of RAM, not shared with anything else. */
uint64_t page_take(void);

/* The entry for an address in the table of a level (1: 4 KiB pages). Creates missing tables. */
volatile uint64_t *entry_at(uint64_t va, unsigned level);
/* Sets the entry of a 4 KiB page, and flushes it. */
volatile uint64_t *page_map(uint64_t va, uint64_t entry);

/* Removes all mappings of experiments. */
void experiment_end(void);

static inline uint64_t load_word(uint64_t va)
{
    return *(volatile uint64_t *)va;
}

static inline void store_word(uint64_t va, uint64_t value)
{
    *(volatile uint64_t *)va = value;
}

#endif
