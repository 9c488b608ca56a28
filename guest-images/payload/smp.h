/* The application processors. */
#ifndef PAYLOAD_SMP_H
#define PAYLOAD_SMP_H

#include <stdint.h>

/* The waits of the MP specification, B.4, for a TSC of up to 5 GHz. */
#define INIT_CYCLES 50000000

/*
 * Starts all other CPUs by INIT-SIPI-SIPI, once per boot. Each does the work at CPL 3 and halts.
 * They are numbered from 1 in the order in which they arrive.
 */
void smp_start(void (*work)(uint64_t cpu));
/* How many have arrived. */
uint32_t smp_arrived(void);

#endif
