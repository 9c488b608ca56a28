/* Statistics counters, written by one thread and read by others at any time. */
#ifndef TSVM_COUNTER_H
#define TSVM_COUNTER_H

#include <stdint.h>

typedef uint64_t counter;

/* Called only by the thread that owns the counter, so no locked instruction is needed. */
static inline void counter_add(counter *value, uint64_t n)
{
    __atomic_store_n(value, *value + n, __ATOMIC_RELAXED);
}

static inline uint64_t counter_read(const counter *value)
{
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

#endif
