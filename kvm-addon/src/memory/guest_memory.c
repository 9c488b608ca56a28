#include "guest_memory.h"

#include <errno.h>
#include <sys/mman.h>

#define PAGE_SIZE 4096u

static bool page_aligned(uint64_t value)
{
    return value % PAGE_SIZE == 0;
}

int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
    if (size == 0 || !page_aligned(gpa) || !page_aligned(size) || gpa + size < gpa)
        return -EINVAL;
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_memory_region *region = &memory->regions[i];
        if (gpa < region->gpa + region->size && region->gpa < gpa + size)
            return -EINVAL;
    }
    if (memory->count == GUEST_MEMORY_REGIONS_MAX)
        return -ENOSPC;
    void *hva = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (hva == MAP_FAILED)
        return -errno;
    /* A core dump of the VMM must not carry the guest's memory, nor take its size on disk. */
    madvise(hva, size, MADV_DONTDUMP);
    memory->regions[memory->count++] =
        (struct guest_memory_region){.gpa = gpa, .size = size, .hva = hva};
    return 0;
}

int guest_memory_map_file(struct guest_memory *memory, uint64_t gpa, uint64_t length, int fd,
                          uint64_t file_offset)
{
    if (length == 0 || !page_aligned(gpa) || !page_aligned(length) || !page_aligned(file_offset))
        return -EINVAL;
    void *hva = guest_memory_at(memory, gpa, length);
    if (!hva)
        return -EFAULT;
    if (mmap(hva, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
             (off_t)file_offset) == MAP_FAILED)
        return -errno;
    return 0;
}

void guest_memory_free(struct guest_memory *memory)
{
    for (unsigned i = 0; i < memory->count; i++)
        munmap(memory->regions[i].hva, memory->regions[i].size);
    memory->count = 0;
}

void guest_memory_watch(struct guest_memory *memory, guest_memory_written *written, void *context)
{
    pthread_rwlock_wrlock(&memory->written_lock);
    __atomic_store_n(&memory->written, written, __ATOMIC_RELAXED);
    memory->written_context = context;
    pthread_rwlock_unlock(&memory->written_lock);
}

void guest_memory_tell(const struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
    pthread_rwlock_t *lock = (pthread_rwlock_t *)&memory->written_lock;

    pthread_rwlock_rdlock(lock);
    if (memory->written)
        memory->written(memory->written_context, gpa, length);
    pthread_rwlock_unlock(lock);
}
