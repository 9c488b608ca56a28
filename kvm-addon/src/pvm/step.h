/*
 * One instruction by KVM's own emulator, for what the interpreter does not know, and for modes that
 * it does not know: KVM has the guest's whole state then, descriptor tables and all, and delivers
 * what the instruction raises as well as interrupts.
 */
#ifndef TSVM_PVM_STEP_H
#define TSVM_PVM_STEP_H

#include "native.h"

enum progress step_run(struct cpu *cpu);

/*
 * Real mode, protected mode, and the way from there to long mode (the boot vCPU of a 32-bit entry,
 * others after SIPI): all of it by single steps. Returns after each, cpu->in_kvm cleared when the
 * engine has taken over.
 */
enum progress step_legacy(struct cpu *cpu);

#endif
