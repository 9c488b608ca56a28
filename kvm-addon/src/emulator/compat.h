/*
 * Runs unmodified guests on kvm-pvm, the KVM without VT-x or AMD-V whose instruction emulator
 * executes CPL 0: completes the instructions that the emulator refuses (fixup.h) and turns
 * SYSCALL into a real change of privilege level (syscall.h). A host with hardware
 * virtualization never enters any emu_ file; kvm/host_probe.h tells which host it is.
 */
#ifndef TSVM_EMULATOR_COMPAT_H
#define TSVM_EMULATOR_COMPAT_H

#include "types.h"

/* By counter; never NULL. */
const char *emu_counter_name(unsigned counter);

/*
 * Sets up the MSR filter and maps the SYSCALL shim into memory slot `slot` at `shim_gpa`, a
 * multiple of 2 MiB; nothing else may be put in the 2 MiB from there. To be called before vCPUs
 * are made. `memory` outlives the VM. Returns 0, -EINVAL (`shim_gpa`), -ENOTSUP (KVM lacks a
 * capability) or the -errno of the failed call; on failure everything is undone.
 */
int emu_vm_init(struct emu_vm *vm, int vm_fd, const struct guest_memory *memory, unsigned slot,
                uint64_t shim_gpa);
/* After the VM is closed: taking its slot away from it while it lives would cost milliseconds. */
void emu_vm_destroy(struct emu_vm *vm);

/* Returns 0 or -errno. The vCPU owns nothing that would have to be freed. */
int emu_cpu_init(struct emu_cpu *cpu, struct emu_vm *vm, int vcpu_fd, struct kvm_run *run);

/*
 * To be called after each KVM_RUN that returned 0. After EMU_HANDLED changes of registers wait in
 * the page shared with KVM until the next KVM_RUN, be it one with immediate_exit set.
 */
enum emu_result emu_cpu_handle_exit(struct emu_cpu *cpu);

/*
 * Restores the SYSCALL state of a snapshot, in KVM too: to be called after the other MSRs and
 * segments are set, with EFER.SCE clear among them. Returns 0 or -errno.
 */
int emu_cpu_restore(struct emu_cpu *cpu, const struct emu_syscall_state *saved);

#endif
