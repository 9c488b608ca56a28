/* Deterministic random number generators. */
#ifndef PAYLOAD_RANDOM_H
#define PAYLOAD_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#define RANDOM_SEED 0x9e3779b97f4a7c15ull

/* A xorshift generator; its state is never 0. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* The splitmix32 sequence. Any state is valid, so it can be the number of an object. */
static inline uint32_t random_next32(uint32_t *state)
{
    uint32_t x = *state += 0x9e3779b9;
    x = (x ^ x >> 16) * 0x21f0aaad;
    x = (x ^ x >> 15) * 0x735a2d97;
    return x ^ x >> 15;
}

/* The length is a multiple of 8. */
static inline void random_fill(uint64_t *state, void *buffer, size_t length)
{
    uint64_t *words = buffer;
    for (size_t i = 0; i < length / sizeof(*words); i++)
        words[i] = random_next(state);
}

#endif
