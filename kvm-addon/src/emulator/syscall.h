/*
 * SYSCALL on kvm-pvm jumps to LSTAR but stays at CPL 3. Therefore KVM's LSTAR points to a shim
 * (firmware/syscall-shim.S) that is mapped at the end of the guest's address space. The shim stores
 * to the doorbell, the page after it, which ends KVM_RUN; then this module performs the operation
 * of SYSCALL. The guest's STAR, LSTAR, SFMASK and EFER.SCE are kept here, by means of an MSR
 * filter.
 *
 * KVM's EFER.SCE stays clear. Native SYSCALL does not need it. KVM's emulator does: it would
 * execute SYSCALL from 32-bit code and truncate the target to 32 bits, so that a program could run
 * its own code at CPL 0. With SCE clear the program gets #UD.
 */
#ifndef TSVM_EMULATOR_SYSCALL_H
#define TSVM_EMULATOR_SYSCALL_H

#include "types.h"

#define EMU_MSR_EFER 0xc0000080u
#define EMU_MSR_STAR 0xc0000081u
#define EMU_MSR_LSTAR 0xc0000082u
#define EMU_MSR_SFMASK 0xc0000084u
#define EMU_EFER_SCE (1ull << 0)

/* Linux keeps this last 2 MiB of the address space unused (Documentation/arch/x86/x86_64/mm). */
#define EMU_SHIM_ADDRESS 0xffffffffffe00000ull
#define EMU_SHIM_GPA_ALIGNMENT 0x200000u
#define EMU_DOORBELL_OFFSET 0x1000u

/* Sets up the capability, the MSR filter and the memory slot. Returns 0 or -errno. */
int emu_syscall_vm_init(struct emu_vm *vm);
void emu_syscall_vm_destroy(struct emu_vm *vm);

/* Handle KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR. */
enum emu_result emu_syscall_rdmsr(struct emu_cpu *cpu);
enum emu_result emu_syscall_wrmsr(struct emu_cpu *cpu);

/*
 * Handles KVM_EXIT_MMIO. Any guest code can store to the doorbell. Only the store of the shim at
 * CPL 3 counts as SYSCALL; everything else is EMU_NOT_MINE.
 */
enum emu_result emu_syscall_doorbell(struct emu_cpu *cpu);

#endif
