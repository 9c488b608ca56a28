/*
 * Stubs of one vCPU. Their code is written through one mapping and executed through another, so
 * that no page is writable and executable. Both the code and the number of stubs are bounded; when
 * either is full all are dropped and made again as they are used.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fpu_state.h"
#include "simd.h"

#define CODE_BYTES (128u << 10)
#define STUBS 2048u /* a power of two */
#define PROBES 16u
#define CODE_ALIGNMENT 16u
#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif

struct simd_arena {
    uint8_t *writable;
    uint8_t *executable;
    uint32_t used; /* bytes of code */
    uint64_t flushes;
    struct simd_stub stubs[STUBS];
};

static void *map_code(int fd, int protection)
{
    void *address = mmap(NULL, CODE_BYTES, protection, MAP_SHARED, fd, 0);
    return address == MAP_FAILED ? NULL : address;
}

/* Hosts may forbid executable memory files, or ask for the flag that wants one. */
static int open_code(void)
{
    int fd = memfd_create("tsvm-simd", MFD_CLOEXEC | MFD_EXEC);

    if (fd < 0)
        fd = memfd_create("tsvm-simd", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, CODE_BYTES)) {
        close(fd);
        return -1;
    }
    return fd;
}

struct simd_arena *simd_arena_create(void)
{
    struct simd_arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return NULL;
    int fd = open_code();
    if (fd >= 0) {
        arena->writable = map_code(fd, PROT_READ | PROT_WRITE);
        arena->executable = map_code(fd, PROT_READ | PROT_EXEC);
        close(fd);
    }
    if (arena->writable && arena->executable)
        return arena;
    simd_arena_destroy(arena);
    return NULL;
}

void simd_arena_destroy(struct simd_arena *arena)
{
    if (!arena)
        return;
    if (arena->writable)
        munmap(arena->writable, CODE_BYTES);
    if (arena->executable)
        munmap(arena->executable, CODE_BYTES);
    free(arena);
}

uint64_t simd_arena_size(void)
{
    return CODE_BYTES + sizeof(struct simd_arena);
}

static void flush(struct simd_arena *arena)
{
    memset(arena->stubs, 0, sizeof arena->stubs);
    arena->used = 0;
    arena->flushes++;
}

static uint32_t hash(union simd_key key)
{
    return (uint32_t)(key.bits * 0x9e3779b97f4a7c15ull >> 40) & (STUBS - 1);
}

/* The key's stub, or a free place for it; NULL: there is none. */
static struct simd_stub *find_place(struct simd_arena *arena, union simd_key key)
{
    for (uint32_t i = 0; i < PROBES; i++) {
        struct simd_stub *stub = &arena->stubs[(hash(key) + i) & (STUBS - 1)];
        if (stub->key.bits == key.bits || !stub->key.bits)
            return stub;
    }
    return NULL;
}

/*
 * Code that was written by another address than it is executed at needs a serializing instruction
 * between (SDM 3A 9.1.3). IRET is the one that no hypervisor intercepts.
 */
static void serialize(void)
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

static void fill(struct simd_arena *arena, struct simd_stub *stub, union simd_key key)
{
    uint32_t length = simd_emit(key, arena->writable + arena->used);

    serialize();
    stub->code = (simd_code *)(uintptr_t)(arena->executable + arena->used);
    simd_describe(key, &stub->form);
    stub->key = key;
    arena->used += (length + CODE_ALIGNMENT - 1) & ~(CODE_ALIGNMENT - 1);
}

const struct simd_stub *simd_arena_at(const struct simd_arena *arena, uint32_t index)
{
    return &arena->stubs[index & (STUBS - 1)];
}

const struct simd_stub *simd_arena_find(struct simd_arena *arena, union simd_key key,
                                        uint32_t *hint)
{
    struct simd_stub *stub = find_place(arena, key);

    if (!stub || stub->key.bits != key.bits) {
        if (!stub || arena->used > CODE_BYTES - SIMD_STUB_MAX) {
            flush(arena);
            stub = find_place(arena, key);
        }
        fill(arena, stub, key);
    }
    *hint = (uint32_t)(stub - arena->stubs);
    return stub;
}
