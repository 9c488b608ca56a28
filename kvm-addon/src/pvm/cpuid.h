/* CPUID. CPL 0 sees what the machine's owner has set, CPL 3 the processor's, as in native runs. */
#ifndef TSVM_PVM_CPUID_H
#define TSVM_PVM_CPUID_H

#include "engine.h"

/*
 * Answers of the processor to programs. Where the host is a virtual machine itself, each CPUID
 * costs an exit of several microseconds, and a C library's start executes dozens.
 */
#define CPUID_ANSWERS 64u
struct cpuid_answer {
    uint32_t function;
    uint32_t index;
    uint32_t registers[4]; /* EAX, EBX, ECX, EDX */
};

struct cpu_cpuid {
    struct kvm_cpuid_entry2 entries[CPUID_LEAVES_MAX];
    unsigned count;
    bool is_amd;
    /* CR4 bits and EFER bits that the features allow. */
    uint64_t cr4_allowed;
    uint64_t efer_allowed;
    unsigned physical_bits;
    struct cpuid_answer answers[CPUID_ANSWERS]; /* the latest */
    uint64_t answered;
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
