/*
 * The CPUID that KVM offers and the one that a vCPU gets.
 *
 * A vCPU needs its CPUID before any other state: with hardware virtualization KVM checks the rest
 * against it. KVM_SET_SREGS refuses long mode (EFER.LME) and bits of CR4 that the CPUID does not
 * have, KVM_SET_XCRS components and KVM_SET_MSRS registers. A vCPU is created with an empty one.
 */
#ifndef TSVM_CPUID_H
#define TSVM_CPUID_H

#include <linux/kvm.h>
#include <stddef.h>

/* KVM_MAX_CPUID_ENTRIES of Linux since 5.11. KVM takes no more, and never reports more. */
#define CPUID_ENTRIES_MAX 256

/*
 * KVM_GET_SUPPORTED_CPUID: `entries` has room for CPUID_ENTRIES_MAX. Returns how many there are, or
 * -errno.
 */
int kvm_get_supported_cpuid(int kvm_fd, struct kvm_cpuid_entry2 *entries);

/* KVM_SET_CPUID2. Returns 0 or -errno; -E2BIG for more than CPUID_ENTRIES_MAX. */
int kvm_set_cpuid(int vcpu_fd, const struct kvm_cpuid_entry2 *entries, size_t count);

#endif
