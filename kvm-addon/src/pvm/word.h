/*
 * A change of some bytes of one aligned 8-byte word of guest memory. Stores and locked operations
 * on page tables consist of such changes, which return the old and the new entry even if others
 * write to it.
 */
#ifndef TSVM_PVM_WORD_H
#define TSVM_PVM_WORD_H

#include <stdbool.h>
#include <stdint.h>

struct word_change {
    uint64_t mask;     /* the bytes concerned */
    uint64_t value;    /* under the mask */
    uint64_t expected; /* under the mask: nothing is stored where memory differs */
    bool always;       /* `expected` does not matter */
};

/* `size` bytes from byte `offset` of the word on. */
static inline uint64_t word_mask(unsigned offset, unsigned size)
{
    return (size == 8 ? ~0ull : (1ull << 8 * size) - 1) << 8 * offset;
}

struct word_result {
    uint64_t old;
    uint64_t now;
    bool stored;
};

static inline struct word_result word_apply(uint64_t *word, const struct word_change *change)
{
    uint64_t old = __atomic_load_n(word, __ATOMIC_SEQ_CST), now;
    do {
        if (!change->always && (old & change->mask) != change->expected)
            return (struct word_result){.old = old, .now = old, .stored = false};
        now = (old & ~change->mask) | change->value;
    } while (
        !__atomic_compare_exchange_n(word, &old, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return (struct word_result){.old = old, .now = now, .stored = true};
}

#endif
