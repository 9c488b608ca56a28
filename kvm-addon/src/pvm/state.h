/*
 * Where a vCPU's architectural state is: in the engine, or in KVM while the vCPU is `in_kvm`, that
 * is, in modes that are single-stepped (step.h) and before the first INIT and SIPI. The local APIC
 * and the FPU are always KVM's, with a cache of the latter here (fpu.h).
 */
#ifndef TSVM_PVM_STATE_H
#define TSVM_PVM_STATE_H

#include "cpu.h"

/* The engine can run a vCPU in this state: long mode, 64-bit code. */
bool state_is_ours(const struct kvm_sregs *sregs);

/* KVM's state becomes the engine's, or the other way round. Return 0 or -errno. */
int state_adopt(struct cpu *cpu);
int state_hand_over(struct cpu *cpu);

/* Before native runs: sets KVM's MSRs so that SYSCALL jumps to the shim. */
void state_install(struct cpu *cpu);

/*
 * For whoever reads and sets the state of a vCPU that does not run; KVM's structures, by the number
 * of the KVM_GET_* or KVM_SET_* ioctl. Return 0 or -errno.
 */
int state_get(struct cpu *cpu, unsigned long request, void *state);
int state_set(struct cpu *cpu, unsigned long request, const void *state);
int state_get_msr(struct cpu *cpu, uint32_t number, uint64_t *value);
int state_set_msr(struct cpu *cpu, uint32_t number, uint64_t value);

#endif
