#include "guest_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_mapping.h"
#include "huge_mapping.h"

static bool page_aligned(uint64_t value)
{
    return value % GUEST_MEMORY_PAGE_SIZE == 0;
}

/* Returns 0 if the region can be added, or -errno. */
static int check_place(const struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
    if (size == 0 || !page_aligned(gpa) || !page_aligned(size) || gpa + size < gpa)
        return -EINVAL;
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_memory_region *region = &memory->regions[i];
        if (gpa < region->gpa + region->size && region->gpa < gpa + size)
            return -EINVAL;
    }
    return memory->count == GUEST_MEMORY_REGIONS_MAX ? -ENOSPC : 0;
}

/* A memfd sealed against resizing: truncation by another process would cause SIGBUS in this one. */
static int create_memfd(uint64_t size)
{
    int fd = memfd_create("tsvm-guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static int check_file(const struct guest_memory_source *source, uint64_t size)
{
    struct stat status;
    if (!page_aligned(source->offset) || source->offset + size < size)
        return -EINVAL;
    if (fstat(source->fd, &status) < 0)
        return -errno;
    /* Accessing a mapping beyond the end of the file causes SIGBUS. */
    return source->offset + size > (uint64_t)status.st_size ? -ENODATA : 0;
}

/* Maps the region's memory. Returns 0 or -errno. */
static int map_region(struct guest_memory_region *region, const struct guest_memory_source *source)
{
    uint64_t size = region->size;
    const struct file_mapping_source file = {
        .fd = source->fd, .file_size = source->file_size, .read_only = source->read_only};
    int flags = MAP_NORESERVE, fd = -1, error = 0;
    off_t offset = 0;
    switch (source->backing) {
    case GUEST_MEMORY_PERSISTENT:
        region->read_only = source->read_only;
        return file_mapping_create(&file, size, (void **)&region->hva);
    case GUEST_MEMORY_ANONYMOUS:
        if (source->huge_pages)
            return huge_mapping_create(region->gpa, size, (void **)&region->hva);
        flags |= MAP_PRIVATE | MAP_ANONYMOUS;
        break;
    case GUEST_MEMORY_SHARED:
        flags |= MAP_SHARED;
        region->fd = fd = error = create_memfd(size);
        break;
    case GUEST_MEMORY_FILE:
        flags |= MAP_PRIVATE;
        fd = source->fd;
        offset = (off_t)source->offset;
        error = check_file(source, size);
        break;
    }
    if (error < 0)
        return error;
    void *hva = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, offset);
    if (hva == MAP_FAILED) {
        error = -errno;
        if (region->fd >= 0)
            close(region->fd);
        return error;
    }
    region->hva = hva;
    return 0;
}

int guest_memory_add_from(struct guest_memory *memory, uint64_t gpa, uint64_t size,
                          const struct guest_memory_source *source)
{
    struct guest_memory_region region = {
        .gpa = gpa, .size = size, .backing = source->backing, .fd = -1};
    int error = check_place(memory, gpa, size);
    if (error == 0)
        error = map_region(&region, source);
    if (error < 0)
        return error;
    /* Keep guest memory out of core dumps, for privacy and size. */
    madvise(region.hva, size, MADV_DONTDUMP);
    memory->regions[memory->count++] = region;
    return 0;
}

int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
    struct guest_memory_source source = {.backing = GUEST_MEMORY_ANONYMOUS};
    return guest_memory_add_from(memory, gpa, size, &source);
}

/* Returns the region that contains a host address, or NULL. */
static struct guest_memory_region *region_of(struct guest_memory *memory, const void *hva)
{
    for (unsigned i = 0; i < memory->count; i++) {
        struct guest_memory_region *region = &memory->regions[i];
        if ((uint64_t)((const uint8_t *)hva - region->hva) < region->size)
            return region;
    }
    return NULL;
}

int guest_memory_map_file(struct guest_memory *memory, uint64_t gpa, uint64_t length, int fd,
                          uint64_t file_offset)
{
    if (length == 0 || !page_aligned(gpa) || !page_aligned(length) || !page_aligned(file_offset))
        return -EINVAL;
    void *hva = guest_memory_at(memory, gpa, length);
    if (!hva)
        return -EFAULT;
    enum guest_memory_backing backing = region_of(memory, hva)->backing;
    if (backing == GUEST_MEMORY_SHARED || backing == GUEST_MEMORY_PERSISTENT)
        return -EOPNOTSUPP;
    if (mmap(hva, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
             (off_t)file_offset) == MAP_FAILED)
        return -errno;
    if (guest_memory_is_watched(memory))
        guest_memory_tell(memory, gpa, length);
    return 0;
}

int guest_memory_discard(struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
    if (length == 0 || !page_aligned(gpa) || !page_aligned(length))
        return -EINVAL;
    void *hva = guest_memory_at(memory, gpa, length);
    if (!hva)
        return -EFAULT;
    const struct guest_memory_region *region = region_of(memory, hva);
    if (region->backing == GUEST_MEMORY_PERSISTENT)
        return -EOPNOTSUPP;
    int result = region->backing == GUEST_MEMORY_SHARED
                     ? fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 (off_t)(gpa - region->gpa), (off_t)length)
                     : madvise(hva, length, MADV_DONTNEED);
    if (result < 0)
        return -errno;
    if (guest_memory_is_watched(memory))
        guest_memory_tell(memory, gpa, length);
    return 0;
}

static bool page_is_zero(const uint8_t *page)
{
    uint64_t first;
    memcpy(&first, page, sizeof first);
    return first == 0 &&
           memcmp(page, page + sizeof first, GUEST_MEMORY_PAGE_SIZE - sizeof first) == 0;
}

static int write_at(int fd, const uint8_t *bytes, uint64_t length, uint64_t offset)
{
    while (length > 0) {
        ssize_t count = pwrite(fd, bytes, length, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? -errno : -ENOSPC;
        bytes += count;
        offset += (uint64_t)count;
        length -= (uint64_t)count;
    }
    return 0;
}

int guest_memory_write_out(const struct guest_memory *memory, uint64_t gpa, uint64_t length, int fd,
                           uint64_t file_offset, uint64_t *written)
{
    *written = 0;
    if (length == 0 || !page_aligned(gpa) || !page_aligned(length) || !page_aligned(file_offset))
        return -EINVAL;
    const uint8_t *bytes = guest_memory_at(memory, gpa, length);
    if (!bytes)
        return -EFAULT;
    uint64_t start = 0; /* of the run of pages that are not zero */
    for (uint64_t at = 0; at <= length; at += GUEST_MEMORY_PAGE_SIZE) {
        if (at < length && !page_is_zero(bytes + at))
            continue;
        int error = write_at(fd, bytes + start, at - start, file_offset + start);
        if (error < 0)
            return error;
        *written += at - start;
        start = at + GUEST_MEMORY_PAGE_SIZE;
    }
    return 0;
}

static int read_at(int fd, uint8_t *bytes, uint64_t length, uint64_t offset)
{
    while (length > 0) {
        ssize_t count = pread(fd, bytes, length, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? -errno : -ENODATA;
        bytes += count;
        offset += (uint64_t)count;
        length -= (uint64_t)count;
    }
    return 0;
}

/* The next part of a file that has data, from `*start` on; both are `end` if there is none. */
static int find_data(int fd, uint64_t end, uint64_t *start, uint64_t *stop)
{
    off_t data = lseek(fd, (off_t)*start, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return -errno;
    if (data < 0 || (uint64_t)data >= end) {
        *start = *stop = end;
        return 0;
    }
    off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole < 0)
        return -errno;
    *start = (uint64_t)data;
    *stop = (uint64_t)hole < end ? (uint64_t)hole : end;
    return 0;
}

int guest_memory_read_in(struct guest_memory *memory, uint64_t gpa, uint64_t length, int fd,
                         uint64_t file_offset)
{
    if (length == 0 || !page_aligned(gpa) || !page_aligned(length) || !page_aligned(file_offset))
        return -EINVAL;
    uint8_t *bytes = guest_memory_at(memory, gpa, length);
    if (!bytes)
        return -EFAULT;
    uint64_t end = file_offset + length, stop = end;
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return -errno;
    if ((uint64_t)size < end)
        return -ENODATA;
    for (uint64_t start = file_offset; start < end; start = stop) {
        int error = find_data(fd, end, &start, &stop);
        if (error == 0)
            error = read_at(fd, bytes + (start - file_offset), stop - start, start);
        if (error < 0)
            return error;
    }
    if (guest_memory_is_watched(memory))
        guest_memory_tell(memory, gpa, length);
    return 0;
}

void guest_memory_free(struct guest_memory *memory)
{
    for (unsigned i = 0; i < memory->count; i++) {
        struct guest_memory_region *region = &memory->regions[i];
        if (region->backing == GUEST_MEMORY_PERSISTENT)
            file_mapping_free(region->hva, region->size);
        else
            munmap(region->hva, region->size);
        if (region->backing == GUEST_MEMORY_SHARED)
            close(region->fd);
        free(region->dirty);
    }
    memory->count = 0;
}

/* Called with the lock held. */
static void update_watched(struct guest_memory *memory)
{
    bool logged = memory->count > 0 && memory->regions[0].dirty;
    __atomic_store_n(&memory->logged, logged, __ATOMIC_RELAXED);
    __atomic_store_n(&memory->watched, memory->written || logged, __ATOMIC_RELAXED);
}

void guest_memory_watch(struct guest_memory *memory, guest_memory_written *written, void *context)
{
    pthread_rwlock_wrlock(&memory->written_lock);
    memory->written = written;
    memory->written_context = context;
    update_watched(memory);
    pthread_rwlock_unlock(&memory->written_lock);
}

int guest_memory_start_log(struct guest_memory *memory)
{
    int error = 0;
    pthread_rwlock_wrlock(&memory->written_lock);
    for (unsigned i = 0; i < memory->count && error == 0; i++) {
        struct guest_memory_region *region = &memory->regions[i];
        if (!region->dirty)
            region->dirty = calloc(guest_memory_bitmap_words(region), sizeof *region->dirty);
        error = region->dirty ? 0 : -ENOMEM;
    }
    update_watched(memory);
    pthread_rwlock_unlock(&memory->written_lock);
    if (error < 0)
        guest_memory_stop_log(memory);
    return error;
}

void guest_memory_stop_log(struct guest_memory *memory)
{
    pthread_rwlock_wrlock(&memory->written_lock);
    for (unsigned i = 0; i < memory->count; i++) {
        free(memory->regions[i].dirty);
        memory->regions[i].dirty = NULL;
    }
    update_watched(memory);
    pthread_rwlock_unlock(&memory->written_lock);
}

void guest_memory_take_dirty(struct guest_memory *memory, unsigned index, uint64_t *bitmap)
{
    pthread_rwlock_rdlock(&memory->written_lock);
    const struct guest_memory_region *region = &memory->regions[index];
    uint64_t words = region->dirty ? guest_memory_bitmap_words(region) : 0;
    for (uint64_t i = 0; i < words; i++) {
        if (__atomic_load_n(&region->dirty[i], __ATOMIC_RELAXED))
            bitmap[i] |= __atomic_exchange_n(&region->dirty[i], 0, __ATOMIC_SEQ_CST);
    }
    pthread_rwlock_unlock(&memory->written_lock);
}

/* Marks the pages of a range as written. Called with the lock held for reading. */
static void mark_dirty(const struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
    const uint8_t *hva = guest_memory_at(memory, gpa, length);
    if (!hva || length == 0)
        return;
    const struct guest_memory_region *region = region_of((struct guest_memory *)memory, hva);
    uint64_t page = (gpa - region->gpa) / GUEST_MEMORY_PAGE_SIZE;
    uint64_t last = (gpa - region->gpa + length - 1) / GUEST_MEMORY_PAGE_SIZE;
    for (; region->dirty && page <= last; page++)
        __atomic_fetch_or(&region->dirty[page / 64], 1ull << page % 64, __ATOMIC_SEQ_CST);
}

void guest_memory_tell(const struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
    pthread_rwlock_t *lock = (pthread_rwlock_t *)&memory->written_lock;

    pthread_rwlock_rdlock(lock);
    mark_dirty(memory, gpa, length);
    if (memory->written)
        memory->written(memory->written_context, gpa, length);
    pthread_rwlock_unlock(lock);
}
