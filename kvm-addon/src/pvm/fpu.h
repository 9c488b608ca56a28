/*
 * The x87, SSE, AVX and AVX-512 state of a vCPU, and the instructions that use it (fpu.c, simd.c).
 *
 * The state lives in KVM. It is fetched when an interpreted instruction first uses it after a KVM
 * run, and handed back before the next run if it changed.
 *
 * What CPL 3 sees natively: kvm-pvm does not switch XCR0, so programs run with the host's, whatever
 * the guest's XSETBV said; the guest's kernel is therefore offered exactly the host's components
 * (without PKRU and AMX). Where the guest enables fewer, an interpreted program's use of the others
 * is left to a native run, so that both ways agree.
 *
 * Protection keys: kvm-pvm's shadow page tables have none, and it zeroes PKRU whenever it enters
 * the guest and restores the host's when it leaves. So the kernel is offered no PKU (CPUID, XCR0,
 * CR4.PKE), and pkey_alloc() fails. On a host with PKU a program that asks CPUID itself sees it;
 * its RDPKRU and WRPKRU always run natively, change nothing that the kernel relies on, and deny
 * nothing for longer than the native run.
 */
#ifndef TSVM_PVM_FPU_H
#define TSVM_PVM_FPU_H

#include "cpu.h"

/* Allocates cpu->fpu; cpu->fd is open. Returns 0 or a negative errno. */
int fpu_init(struct cpu *cpu);
void fpu_destroy(struct cpu *cpu);

/* Discards the cached state after KVM's state or XCR0 was set otherwise (a snapshot, a reset). */
void fpu_forget(struct cpu *cpu);
/* Writes changed state to KVM. Call before each KVM_RUN that uses it, and before KVM_GET_XSAVE. */
void fpu_release(struct cpu *cpu);

/* Components that XSETBV accepts: those of the host that KVM keeps for a guest. */
uint64_t fpu_supported_xcr0(void);
/* CPUID leaf 0xd as CPL 0 sees it: EAX, EBX, ECX, EDX of a subleaf. */
void fpu_cpuid_xsave(const struct cpu *cpu, uint32_t subleaf, uint32_t registers[4]);

#endif
