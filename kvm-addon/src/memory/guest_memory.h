/* Guest-physical memory: a few regions of host memory with bounds-checked lookup. */
#ifndef TSVM_GUEST_MEMORY_H
#define TSVM_GUEST_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RAM below and above the 32-bit device hole, memory that is added later, and files. */
#define GUEST_MEMORY_REGIONS_MAX 12

#define GUEST_MEMORY_PAGE_SIZE 4096u

/* The kind of host memory of a region. */
enum guest_memory_backing {
    GUEST_MEMORY_ANONYMOUS,  /* private anonymous memory */
    GUEST_MEMORY_SHARED,     /* a memfd, which other processes can map (vhost-user) */
    GUEST_MEMORY_FILE,       /* a private (copy-on-write) mapping of a file */
    GUEST_MEMORY_PERSISTENT, /* a shared mapping of a file: what is written is in the file */
};

struct guest_memory_source {
    enum guest_memory_backing backing;
    bool huge_pages;    /* for GUEST_MEMORY_ANONYMOUS: see huge_mapping.h */
    int fd;             /* for those of files; may be closed after the call */
    uint64_t offset;    /* for GUEST_MEMORY_FILE */
    uint64_t file_size; /* for GUEST_MEMORY_PERSISTENT: behind it are zeroes */
    bool read_only;     /* for GUEST_MEMORY_PERSISTENT */
};

struct guest_memory_region {
    uint64_t gpa;  /* page-aligned */
    uint64_t size; /* in bytes, whole pages */
    uint8_t *hva;
    enum guest_memory_backing backing;
    bool read_only;  /* the host's memory, too: only guest_memory_readable_at() returns it */
    int fd;          /* for GUEST_MEMORY_SHARED: the memfd; offset 0 is the start of the region */
    uint64_t *dirty; /* one bit per page; NULL: writes are not logged. Under the lock. */
};

/* Called from device threads after they have written guest memory. */
typedef void guest_memory_written(void *context, uint64_t gpa, uint64_t length);

struct guest_memory {
    struct guest_memory_region regions[GUEST_MEMORY_REGIONS_MAX];
    unsigned count;
    guest_memory_written *written; /* or NULL; changed under the lock */
    void *written_context;
    bool watched;                  /* `written` is set or writes are logged; atomic */
    bool logged;                   /* writes are logged; atomic */
    pthread_rwlock_t written_lock; /* zero-initialized */
};

/*
 * Adds a zeroed region. Its pages are allocated on first access (MAP_NORESERVE). Returns 0, -EINVAL
 * (unaligned, empty, wrapping or overlapping), -ENOSPC (too many regions) or the errno of mmap.
 */
int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size);

/* As guest_memory_add, from `source`. Also returns -ENODATA: the file ends before offset + size. */
int guest_memory_add_from(struct guest_memory *memory, uint64_t gpa, uint64_t size,
                          const struct guest_memory_source *source);

/*
 * Maps `length` bytes of `fd` at `file_offset` over guest memory, copy-on-write, so that VMs share
 * the page cache. `gpa`, `length` and `file_offset` are page-aligned. Returns 0 or -errno;
 * -EOPNOTSUPP for shared memory, whose other users would not see the mapping, and persistent
 * memory.
 */
int guest_memory_map_file(struct guest_memory *memory, uint64_t gpa, uint64_t length, int fd,
                          uint64_t file_offset);

/*
 * Releases the host memory of a page-aligned range. It then reads as zeroes, or as the file that is
 * privately mapped there. Returns 0 or -errno; -EOPNOTSUPP for persistent memory.
 */
int guest_memory_discard(struct guest_memory *memory, uint64_t gpa, uint64_t length);

/*
 * Writes the pages of a page-aligned range that are not all zeroes to `fd`, each at `file_offset`
 * plus its distance from `gpa`; the others stay holes of a new file. Sets `written` to the number
 * of bytes. Reading shared memory allocates it. Returns 0 or -errno.
 */
int guest_memory_write_out(const struct guest_memory *memory, uint64_t gpa, uint64_t length, int fd,
                           uint64_t file_offset, uint64_t *written);

/*
 * The reverse: reads what is in the file, into memory that is zero; its holes are not read. Returns
 * 0 or -errno; -ENODATA if the file ends before.
 */
int guest_memory_read_in(struct guest_memory *memory, uint64_t gpa, uint64_t length, int fd,
                         uint64_t file_offset);

void guest_memory_free(struct guest_memory *memory);

/* Starts logging which pages this process writes, except for vCPUs. Returns 0 or -ENOMEM. */
int guest_memory_start_log(struct guest_memory *memory);
void guest_memory_stop_log(struct guest_memory *memory);
/*
 * Sets the bits in `bitmap`, one per page of the region, of the pages written since the last call,
 * and clears the log. A page written during the call may be reported now or next time, so read the
 * memory after the call.
 */
void guest_memory_take_dirty(struct guest_memory *memory, unsigned region, uint64_t *bitmap);

/* 64-bit words of a region's bitmap. */
static inline uint64_t guest_memory_bitmap_words(const struct guest_memory_region *region)
{
    return (region->size / GUEST_MEMORY_PAGE_SIZE + 63) / 64;
}

/* Sets the function to call after device writes. On return, the previous function is not in use. */
void guest_memory_watch(struct guest_memory *memory, guest_memory_written *written, void *context);
/* Reports a write of [gpa, gpa + length) to the watcher and the log. Call it after the write. */
void guest_memory_tell(const struct guest_memory *memory, uint64_t gpa, uint64_t length);
static inline bool guest_memory_is_watched(const struct guest_memory *memory)
{
    return __atomic_load_n(&memory->watched, __ATOMIC_RELAXED);
}

/* Whether writes are logged. For writes that do not concern the watcher. */
static inline bool guest_memory_is_logged(const struct guest_memory *memory)
{
    return __atomic_load_n(&memory->logged, __ATOMIC_RELAXED);
}

/* The region that contains [gpa, gpa + length), or NULL. A length of 0 counts as 1. */
static inline const struct guest_memory_region *
guest_memory_region_at(const struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
    if (length == 0)
        length = 1;
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_memory_region *region = &memory->regions[i];
        /* gpa below the region wraps to a huge offset and fails the first test. */
        uint64_t offset = gpa - region->gpa;
        if (offset < region->size && length <= region->size - offset)
            return region;
    }
    return NULL;
}

/*
 * Host address of [gpa, gpa + length) to read and write, or NULL unless the whole range is within
 * one region that is not read-only. With a length of 0, one byte can be accessed.
 */
static inline void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa,
                                    uint64_t length)
{
    const struct guest_memory_region *region = guest_memory_region_at(memory, gpa, length);
    return region && !region->read_only ? region->hva + (gpa - region->gpa) : NULL;
}

/* The same, to read, also in read-only regions. */
static inline const void *guest_memory_readable_at(const struct guest_memory *memory, uint64_t gpa,
                                                   uint64_t length)
{
    const struct guest_memory_region *region = guest_memory_region_at(memory, gpa, length);
    return region ? region->hva + (gpa - region->gpa) : NULL;
}

/* Guest-physical address of a host address returned by guest_memory_at(). */
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

/* As guest_memory_tell(), by host address. Costs one load if there is no watcher and no log. */
static inline void guest_memory_tell_host(const struct guest_memory *memory, const void *hva,
                                          uint64_t length)
{
    if (guest_memory_is_watched(memory))
        guest_memory_tell(memory, guest_memory_gpa(memory, hva), length);
}

#endif
