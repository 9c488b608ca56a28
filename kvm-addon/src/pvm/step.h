/*
 * Executes one instruction in KVM's emulator, for instructions and modes that the interpreter does
 * not support. KVM then has the complete state of the guest, including descriptor tables, and
 * delivers exceptions and interrupts.
 */
#ifndef TSVM_PVM_STEP_H
#define TSVM_PVM_STEP_H

#include "cpu.h"
#include "progress.h"

enum progress step_run(struct cpu *cpu);

/*
 * Single-steps real mode, protected mode, and the switch to long mode (the boot vCPU of a 32-bit
 * entry, others after SIPI). Returns after each, cpu->in_kvm cleared when the engine has taken
 * over.
 */
enum progress step_legacy(struct cpu *cpu);

#endif
