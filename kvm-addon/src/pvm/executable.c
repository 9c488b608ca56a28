#include "executable.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reserve.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif

/* Hosts may forbid executable memory files, or require an explicit flag for them. */
static int open_code(const char *name, uint64_t bytes)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_EXEC);

    if (fd < 0)
        fd = memfd_create(name, MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, (off_t)bytes)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The code at the start of an area that has room for the data after it. */
static bool map_executable(struct executable *memory, int fd)
{
    uint8_t *area = reserve(memory->bytes + memory->data_bytes);

    if (!area)
        return false;
    memory->executable = area;
    memory->data = area + memory->bytes;
    return mmap(area, memory->bytes, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0) !=
           MAP_FAILED;
}

static bool map_writable(struct executable *memory, int fd)
{
    void *writable = mmap(NULL, memory->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    memory->writable = writable == MAP_FAILED ? NULL : writable;
    return memory->writable;
}

int executable_map(struct executable *memory, const char *name, uint64_t bytes, uint64_t data_bytes)
{
    int fd = open_code(name, bytes);

    *memory = (struct executable){.bytes = bytes, .data_bytes = data_bytes};
    bool mapped = fd >= 0 && map_executable(memory, fd) && map_writable(memory, fd);
    if (fd >= 0)
        close(fd);
    if (mapped)
        return 0;
    executable_unmap(memory);
    return -ENOMEM;
}

void executable_unmap(struct executable *memory)
{
    if (memory->writable)
        munmap(memory->writable, memory->bytes);
    release(memory->executable, memory->bytes + memory->data_bytes);
    *memory = (struct executable){0};
}

void executable_discard(struct executable *memory)
{
    /* The file's pages, and so those of both mappings. */
    madvise(memory->writable, memory->bytes, MADV_REMOVE);
    reserve_discard(memory->data, memory->data_bytes);
}

uint64_t executable_resident(const struct executable *memory)
{
    if (!memory->writable)
        return 0;
    return reserve_resident(memory->writable, memory->bytes) +
           reserve_resident(memory->data, memory->data_bytes);
}

/*
 * Code that was written by another address than it is executed at needs a serializing instruction
 * between (SDM 3A 9.1.3). IRET is the one that no hypervisor intercepts.
 */
void executable_serialize(void)
{
    uint64_t scratch;

    __asm__ volatile("sub $128, %%rsp\n\t" /* not into the red zone */
                     "mov %%ss, %k0\n\t"
                     "push %0\n\t"
                     "lea 8(%%rsp), %0\n\t"
                     "push %0\n\t"
                     "pushf\n\t"
                     "mov %%cs, %k0\n\t"
                     "push %0\n\t"
                     "lea 1f(%%rip), %0\n\t"
                     "push %0\n\t"
                     "iretq\n"
                     "1:\tadd $128, %%rsp"
                     : "=&r"(scratch)
                     :
                     : "memory", "cc");
}
