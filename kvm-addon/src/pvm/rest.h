/*
 * A vCPU that has next to nothing to do gives back the memory of its decoded code and its
 * translations, most of which is of the boot or of earlier work.
 */
#ifndef TSVM_PVM_REST_H
#define TSVM_PVM_REST_H

#include "cpu.h"

/* Around each halt, on the vCPU's thread. */
void rest_begin(struct cpu *cpu);
void rest_end(struct cpu *cpu);

#endif
