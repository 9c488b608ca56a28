#include "huge_mapping.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

int huge_mapping_create(uint64_t gpa, uint64_t size, void **hva)
{
    /* The kernel chooses an address; the part from the next suitable one on is kept. */
    uint64_t reserved = size + HUGE_MAPPING_PAGE_SIZE;
    if (reserved < size)
        return -ENOMEM;
    uint8_t *start = mmap(NULL, reserved, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return -errno;
    uint64_t before = (gpa - (uintptr_t)start) % HUGE_MAPPING_PAGE_SIZE;
    if (before > 0)
        munmap(start, before);
    munmap(start + before + size, reserved - before - size);
    /* A kernel without huge pages refuses: pages are small then. */
    madvise(start + before, size, MADV_HUGEPAGE);
    *hva = start + before;
    return 0;
}
