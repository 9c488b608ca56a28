/* The parts of a vCPU that interpretation needs: engine_setup.c adds those for KVM. */
#ifndef TSVM_PVM_CPU_SETUP_H
#define TSVM_PVM_CPU_SETUP_H

#include "cpu.h"

/*
 * Gives a zeroed vCPU its TLB, code cache, requests and counters, all empty, and its place in
 * engine->cpus; the engine's memory and frames are there. Returns 0 or -ENOMEM.
 */
int cpu_init(struct cpu *cpu, struct engine *engine, unsigned index);
/* Also after a cpu_init() that failed. */
void cpu_destroy(struct cpu *cpu);

#endif
