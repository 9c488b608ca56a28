/* A fast generator with a seed that makes a run repeatable (xorshift64*). */
#ifndef TSVM_TEST_RANDOM_H
#define TSVM_TEST_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

extern uint64_t random_state;

static inline void random_seed(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
}

static inline uint64_t random_word(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dull;
}

/* In [0, bound). */
static inline unsigned random_below(unsigned bound)
{
    return (unsigned)((random_word() >> 32) * bound >> 32);
}

static inline bool one_in(unsigned n)
{
    return random_below(n) == 0;
}

#endif
