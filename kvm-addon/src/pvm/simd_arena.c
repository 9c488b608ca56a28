/*
 * Stubs of one vCPU. Both their code and their number are bounded; when either is full all are
 * dropped and made again as they are used.
 */
#include <stdlib.h>
#include <string.h>

#include "executable.h"
#include "fpu_state.h"
#include "simd.h"

#define CODE_BYTES (128u << 10)
#define STUBS 2048u /* a power of two */
#define PROBES 16u
#define CODE_ALIGNMENT 16u

struct simd_arena {
    struct executable code;
    uint32_t used; /* bytes of code */
    uint64_t flushes;
    struct simd_stub stubs[STUBS];
};

struct simd_arena *simd_arena_create(void)
{
    struct simd_arena *arena = calloc(1, sizeof *arena);
    if (arena && executable_map(&arena->code, "tsvm-simd", CODE_BYTES, 0) == 0)
        return arena;
    free(arena);
    return NULL;
}

void simd_arena_destroy(struct simd_arena *arena)
{
    if (!arena)
        return;
    executable_unmap(&arena->code);
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

static void fill(struct simd_arena *arena, struct simd_stub *stub, union simd_key key)
{
    uint32_t length = simd_emit(key, arena->code.writable + arena->used);

    executable_serialize();
    stub->code = (simd_code *)(uintptr_t)(arena->code.executable + arena->used);
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
