/*
 * Runs unmodified guests on kvm-pvm, a KVM without VT-x or AMD-V whose instruction emulator
 * executes CPL 0. Executes the instructions that the emulator does not support (fixup.h) and makes
 * SYSCALL switch to CPL 0 (syscall.h). Not used on hosts with hardware virtualization
 * (kvm/host_probe.h).
 */
#ifndef TSVM_EMULATOR_COMPAT_H
#define TSVM_EMULATOR_COMPAT_H

#include "types.h"

/* The name of a counter; never NULL. */
const char *emu_counter_name(unsigned counter);

/*
 * Sets up the MSR filter and maps the SYSCALL shim at `shim_gpa` with memory slot `slot`.
 * `shim_gpa` is 2 MiB-aligned, and the 2 MiB from there must be unused. Call this before creating
 * vCPUs. `memory` must outlive the VM. Returns 0, -EINVAL (`shim_gpa`), -ENOTSUP (KVM lacks a
 * capability) or the -errno of the failed call; on failure undoes everything.
 */
int emu_vm_init(struct emu_vm *vm, int vm_fd, const struct guest_memory *memory, unsigned slot,
                uint64_t shim_gpa);
/* Call after closing the VM: removing the memory slot from a live VM would take milliseconds. */
void emu_vm_destroy(struct emu_vm *vm);

/* Returns 0 or -errno. There is no destroy function, because it owns no resources. */
int emu_cpu_init(struct emu_cpu *cpu, struct emu_vm *vm, int vcpu_fd, struct kvm_run *run);

/*
 * Call after each KVM_RUN that returned 0. After EMU_HANDLED, register changes stay in the page
 * shared with KVM until the next KVM_RUN, which may have immediate_exit set.
 */
enum emu_result emu_cpu_handle_exit(struct emu_cpu *cpu);

/*
 * Restores the SYSCALL state of a snapshot, here and in KVM. Call after setting the segments and
 * the other MSRs, with EFER.SCE clear. Returns 0 or -errno.
 */
int emu_cpu_restore(struct emu_cpu *cpu, const struct emu_syscall_state *saved);

#endif
