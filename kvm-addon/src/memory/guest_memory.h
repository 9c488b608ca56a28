/* Guest-physical memory: a few regions of host memory, looked up with bounds checked. */
#ifndef TSVM_GUEST_MEMORY_H
#define TSVM_GUEST_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Below and above the 32-bit device hole, and one to spare. */
#define GUEST_MEMORY_REGIONS_MAX 4

#define GUEST_MEMORY_PAGE_SIZE 4096u

/* What host memory a region is made of. */
enum guest_memory_backing {
    GUEST_MEMORY_ANONYMOUS, /* this process's own */
    GUEST_MEMORY_SHARED,    /* a memfd, which another process can map (vhost-user) */
    GUEST_MEMORY_FILE,      /* a private map of a file: what the guest writes is copied */
};

struct guest_memory_source {
    enum guest_memory_backing backing;
    int fd; /* of GUEST_MEMORY_FILE; it may be closed afterwards */
    uint64_t offset;
};

struct guest_memory_region {
    uint64_t gpa;  /* page-aligned */
    uint64_t size; /* in bytes, whole pages */
    uint8_t *hva;
    enum guest_memory_backing backing;
    int fd;          /* of GUEST_MEMORY_SHARED, whose offset 0 is the region's start */
    uint64_t *dirty; /* a bit for each page, or NULL: writes are not logged. Under the lock. */
};

/* Told of what devices have written, from their threads. */
typedef void guest_memory_written(void *context, uint64_t gpa, uint64_t length);

struct guest_memory {
    struct guest_memory_region regions[GUEST_MEMORY_REGIONS_MAX];
    unsigned count;
    guest_memory_written *written; /* NULL: nobody wants to know. Changed under the lock. */
    void *written_context;
    bool watched;                  /* atomic: there is `written`, or writes are logged */
    bool logged;                   /* atomic */
    pthread_rwlock_t written_lock; /* zeroes are a good initial value */
};

/*
 * Adds a zeroed region; pages cost nothing until touched (MAP_NORESERVE).
 * Returns 0, -EINVAL (unaligned, empty, wrapping or overlapping), -ENOSPC (too many regions)
 * or the errno of mmap.
 */
int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size);

/* The same of other memory; also -ENODATA: the file is shorter than `offset` + `size`. */
int guest_memory_add_from(struct guest_memory *memory, uint64_t gpa, uint64_t size,
                          const struct guest_memory_source *source);

/*
 * Maps `length` bytes of `fd` at `file_offset` over guest memory, copy-on-write, so that VMs share
 * the page cache. All three numbers are multiples of the page size. Returns 0 or -errno:
 * -EOPNOTSUPP for shared memory, whose other users would not see it.
 */
int guest_memory_map_file(struct guest_memory *memory, uint64_t gpa, uint64_t length, int fd,
                          uint64_t file_offset);

/*
 * Gives the range's host memory back. It reads as zeroes afterwards, or as the file that is mapped
 * there privately. Both numbers are multiples of the page size. Returns 0 or -errno.
 */
int guest_memory_discard(struct guest_memory *memory, uint64_t gpa, uint64_t length);

void guest_memory_free(struct guest_memory *memory);

/* Begins to log which pages this process writes, but for vCPUs. Returns 0 or -ENOMEM. */
int guest_memory_start_log(struct guest_memory *memory);
void guest_memory_stop_log(struct guest_memory *memory);
/*
 * Sets the bits in `bitmap`, one for each page of a region, of those written since the last call,
 * and forgets them. What is written while it runs may be told now or next time: read the memory
 * afterwards.
 */
void guest_memory_take_dirty(struct guest_memory *memory, unsigned region, uint64_t *bitmap);

/* 64-bit words of a region's bitmap. */
static inline uint64_t guest_memory_bitmap_words(const struct guest_memory_region *region)
{
    return (region->size / GUEST_MEMORY_PAGE_SIZE + 63) / 64;
}

/* When it returns nobody calls the function that was set before any more. */
void guest_memory_watch(struct guest_memory *memory, guest_memory_written *written, void *context);
/* [gpa, gpa + length) was written: for whoever watches, and the log. After the write. */
void guest_memory_tell(const struct guest_memory *memory, uint64_t gpa, uint64_t length);
static inline bool guest_memory_is_watched(const struct guest_memory *memory)
{
    return __atomic_load_n(&memory->watched, __ATOMIC_RELAXED);
}

/* Whether writes are logged: for those that matter to nobody else who watches. */
static inline bool guest_memory_is_logged(const struct guest_memory *memory)
{
    return __atomic_load_n(&memory->logged, __ATOMIC_RELAXED);
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

/* As guest_memory_tell(), of a host address. Costs one load while nobody watches. */
static inline void guest_memory_tell_host(const struct guest_memory *memory, const void *hva,
                                          uint64_t length)
{
    if (guest_memory_is_watched(memory))
        guest_memory_tell(memory, guest_memory_gpa(memory, hva), length);
}

#endif
