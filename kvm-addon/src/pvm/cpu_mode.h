/* Changes of privilege level and of the size of code. */
#ifndef TSVM_PVM_CPU_MODE_H
#define TSVM_PVM_CPU_MODE_H

#include "cpu.h"

/*
 * Sets the CPL, and the TLBs in use: by the CPL, RFLAGS.AC, CR4.SMAP and cpu->compat, which the
 * caller sets before. To be called after a change of cpu->compat alone, too.
 */
void cpu_set_cpl(struct cpu *cpu, unsigned cpl);

#endif
