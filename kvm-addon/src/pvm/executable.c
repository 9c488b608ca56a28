#include "executable.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reserve.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif

static void *map_code(int fd, uint64_t bytes, int protection)
{
    void *address = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
    return address == MAP_FAILED ? NULL : address;
}

/* Hosts may forbid executable memory files, or ask for the flag that wants one. */
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

int executable_map(struct executable *memory, const char *name, uint64_t bytes)
{
    int fd = open_code(name, bytes);

    *memory = (struct executable){.bytes = bytes};
    if (fd >= 0) {
        memory->writable = map_code(fd, bytes, PROT_READ | PROT_WRITE);
        memory->executable = map_code(fd, bytes, PROT_READ | PROT_EXEC);
        close(fd);
    }
    if (memory->writable && memory->executable)
        return 0;
    executable_unmap(memory);
    return -ENOMEM;
}

void executable_unmap(struct executable *memory)
{
    if (memory->writable)
        munmap(memory->writable, memory->bytes);
    if (memory->executable)
        munmap(memory->executable, memory->bytes);
    *memory = (struct executable){0};
}

uint64_t executable_resident(const struct executable *memory)
{
    return memory->writable ? reserve_resident(memory->writable, memory->bytes) : 0;
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
