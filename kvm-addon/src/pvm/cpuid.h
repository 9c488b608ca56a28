/* CPUID as seen by the guest's kernel. CPL 3 sees the processor's CPUID when it runs natively. */
#ifndef TSVM_PVM_CPUID_H
#define TSVM_PVM_CPUID_H

#include "cpu.h"

#define CPUID_LEAVES_MAX 256

struct cpu_cpuid {
    struct kvm_cpuid_entry2 entries[CPUID_LEAVES_MAX];
    unsigned count;
    bool is_amd;
    /* CR4 bits and EFER bits that the features allow. */
    uint64_t cr4_allowed;
    uint64_t efer_allowed;
    unsigned physical_bits;
};

/*
 * What can be offered on this host, from KVM_GET_SUPPORTED_CPUID and the processor's own: `entries`
 * has room for CPUID_LEAVES_MAX. Returns how many, or -errno. The same for all vCPUs.
 */
int cpuid_supported(const struct cpu *cpu, struct kvm_cpuid_entry2 *entries);

/* Sets the CPUID for CPL 0, and the part that KVM needs. Returns 0 or -errno. */
int cpuid_set(struct cpu *cpu, const struct kvm_cpuid_entry2 *entries, unsigned count);

static inline bool cpuid_is_amd(const struct cpu *cpu)
{
    return cpu->cpuid->is_amd;
}

#endif
