#include "reserve.h"

#include <stddef.h>
#include <sys/mman.h>

#define PAGE 4096u
/* Pages checked by one system call. */
#define CHUNK_PAGES 4096u

#define LARGE_PAGE (2ull << 20)

void *reserve(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void *reserve_large(uint64_t bytes)
{
    uint8_t *memory = reserve(bytes + LARGE_PAGE);
    if (!memory)
        return NULL;
    uint64_t before = -(uintptr_t)memory % LARGE_PAGE;
    uint64_t used = (bytes + PAGE - 1) / PAGE * PAGE;
    if (before)
        munmap(memory, before);
    memory += before;
    /* `used` may be up to a page more than `bytes`, which the mapping was rounded up to as well. */
    munmap(memory + used, LARGE_PAGE - before);
    reserve_in_large_pages(memory, bytes);
    return memory;
}

void reserve_discard(void *memory, uint64_t bytes)
{
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    madvise(memory, bytes, MADV_DONTNEED);
}

void reserve_in_large_pages(void *memory, uint64_t bytes)
{
    madvise(memory, bytes, MADV_HUGEPAGE);
}

void release(void *memory, uint64_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}

uint64_t reserve_resident(const void *memory, uint64_t bytes)
{
    unsigned char present[CHUNK_PAGES];
    uint64_t pages = (bytes + PAGE - 1) / PAGE, resident = 0;

    for (uint64_t first = 0; first < pages; first += CHUNK_PAGES) {
        uint64_t count = pages - first < CHUNK_PAGES ? pages - first : CHUNK_PAGES;
        if (mincore((uint8_t *)(uintptr_t)memory + first * PAGE, count * PAGE, present) < 0)
            break;
        for (uint64_t i = 0; i < count; i++)
            resident += present[i] & 1;
    }
    return resident * PAGE;
}
