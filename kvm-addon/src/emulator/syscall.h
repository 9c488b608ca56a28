/*
 * SYSCALL on kvm-pvm jumps to LSTAR but leaves the CPU at CPL 3. So KVM is given an LSTAR of our
 * own, the shim (firmware/syscall-shim.S), mapped into the guest's page table at the end of the
 * address space; its one store to the doorbell, the page behind it, ends KVM_RUN, and here the
 * CPU is brought to where SYSCALL should have brought it. The guest's STAR, LSTAR, SFMASK and
 * EFER.SCE are therefore kept here, by an MSR filter.
 *
 * KVM's own EFER.SCE stays clear. Native SYSCALL does not need it, but the emulator does, which
 * executes SYSCALL from 32-bit code and truncates the target to 32 bits: there a program would
 * run code of its own at CPL 0. With SCE clear it gets #UD instead.
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

/* Capability, MSR filter, memory slot. Returns 0 or -errno. */
int emu_syscall_vm_init(struct emu_vm *vm);
void emu_syscall_vm_destroy(struct emu_vm *vm);

/* KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR. */
enum emu_result emu_syscall_rdmsr(struct emu_cpu *cpu);
enum emu_result emu_syscall_wrmsr(struct emu_cpu *cpu);

/*
 * KVM_EXIT_MMIO. Any guest code can store to the doorbell: only the shim's own instruction at
 * CPL 3 is taken, all else is EMU_NOT_MINE.
 */
enum emu_result emu_syscall_doorbell(struct emu_cpu *cpu);

#endif
