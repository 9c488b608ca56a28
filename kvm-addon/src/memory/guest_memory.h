/* Guest-physical memory: a few regions of host memory, looked up with bounds checked. */
#ifndef TSVM_GUEST_MEMORY_H
#define TSVM_GUEST_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Below and above the 32-bit device hole, and one to spare. */
#define GUEST_MEMORY_REGIONS_MAX 4

struct guest_memory_region {
    uint64_t gpa;  /* page-aligned */
    uint64_t size; /* in bytes, whole pages */
    uint8_t *hva;
};

/* Told of what devices have written, from their threads. */
typedef void guest_memory_written(void *context, uint64_t gpa, uint64_t length);

struct guest_memory {
    struct guest_memory_region regions[GUEST_MEMORY_REGIONS_MAX];
    unsigned count;
    guest_memory_written *written; /* NULL: nobody wants to know. Changed under the lock. */
    void *written_context;
    pthread_rwlock_t written_lock; /* zeroes are a good initial value */
};

/*
 * Adds a zeroed region; pages cost nothing until touched (MAP_NORESERVE).
 * Returns 0, -EINVAL (unaligned, empty, wrapping or overlapping), -ENOSPC (too many regions)
 * or the errno of mmap.
 */
int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size);

/*
 * Maps `length` bytes of `fd` at `file_offset` over guest memory, copy-on-write, so that VMs share
 * the page cache. All three numbers are multiples of the page size. Returns 0 or -errno.
 */
int guest_memory_map_file(struct guest_memory *memory, uint64_t gpa, uint64_t length, int fd,
                          uint64_t file_offset);

void guest_memory_free(struct guest_memory *memory);

/* When it returns nobody calls the function that was set before any more. */
void guest_memory_watch(struct guest_memory *memory, guest_memory_written *written, void *context);
/* A device has written [gpa, gpa + length): for whoever watches. */
void guest_memory_tell(const struct guest_memory *memory, uint64_t gpa, uint64_t length);
static inline bool guest_memory_is_watched(const struct guest_memory *memory)
{
    return __atomic_load_n(&memory->written, __ATOMIC_RELAXED);
}

/*
 * Host address of [gpa, gpa + length), or NULL unless the whole range lies in one region.
 * A length of zero is looked up as one byte, so that the answer is always dereferenceable.
 */
static inline void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa,
                                    uint64_t length)
{
    if (length == 0)
        length = 1;
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_memory_region *region = &memory->regions[i];
        /* gpa below the region wraps to a huge offset and fails the first test. */
        uint64_t offset = gpa - region->gpa;
        if (offset < region->size && length <= region->size - offset)
            return region->hva + offset;
    }
    return NULL;
}

/* Guest-physical address of a host address that guest_memory_at() gave. */
static inline uint64_t guest_memory_gpa(const struct guest_memory *memory, const void *hva)
{
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_memory_region *region = &memory->regions[i];
        uint64_t offset = (uint64_t)((const uint8_t *)hva - region->hva);
        if (offset < region->size)
            return region->gpa + offset;
    }
    return UINT64_MAX;
}

#endif
