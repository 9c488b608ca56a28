/* Model-specific registers that the engine keeps instead of KVM. */
#ifndef TSVM_PVM_MSRS_H
#define TSVM_PVM_MSRS_H

#include "cpu.h"

#define MSR_TSC 0x10u
#define MSR_APIC_BASE 0x1bu
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST 0x8ffu
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

struct cpu_msrs {
    uint64_t star;
    uint64_t lstar;
    uint64_t cstar;
    uint64_t sfmask;
    uint64_t kernel_gs_base;
    uint64_t tsc_aux; /* in KVM too: RDTSCP at CPL 3 */
    uint64_t sysenter_cs;
    uint64_t sysenter_esp;
    uint64_t sysenter_eip;
    uint64_t spec_ctrl; /* without effect */
};

/* Where an MSR is kept here, or NULL. */
uint64_t *msrs_kept(struct cpu *cpu, uint32_t number);

/* Whether an MSR says where KVM writes the guest's clock (kvm-clock). */
bool msrs_is_clock(uint32_t number);

/* Reads or writes an MSR by ioctl. False: KVM does not support it or rejects the value. */
bool msrs_kvm_get(struct cpu *cpu, uint32_t number, uint64_t *value);
bool msrs_kvm_set(struct cpu *cpu, uint32_t number, uint64_t value);

#endif
