/* Time is in TSC cycles; the host knows the frequency. */
#ifndef PAYLOAD_TIMING_H
#define PAYLOAD_TIMING_H

#include <stdbool.h>

#include "cpu.h"

/* Timeout of some seconds on any CPU. */
#define TIMEOUT_CYCLES 10000000000ull

static inline bool timed_out(uint64_t start)
{
    return rdtsc() - start > TIMEOUT_CYCLES;
}

static inline void delay_cycles(uint64_t cycles)
{
    for (uint64_t start = rdtsc(); rdtsc() - start < cycles;)
        cpu_relax();
}

#endif
