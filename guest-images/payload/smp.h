/* The application processors. */
#ifndef PAYLOAD_SMP_H
#define PAYLOAD_SMP_H

#include <stdint.h>

/* The waits of the MP specification, B.4, for a TSC of up to 5 GHz. */
#define INIT_CYCLES 50000000

/*
 * Starts all others by INIT-SIPI-SIPI, once in a boot: each does the work, at CPL 3, and halts.
 * Numbers of CPUs are those of their arrival, from 1.
 */
void smp_start(void (*work)(uint64_t cpu));
/* How many have come. */
uint32_t smp_arrived(void);

#endif
