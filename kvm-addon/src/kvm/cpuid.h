/*
 * The CPUID that KVM supports and the CPUID of a vCPU.
 *
 * Set a vCPU's CPUID before any other state. It is initially empty, and with hardware
 * virtualization KVM rejects state that it does not cover: long mode (EFER.LME) and CR4 bits in
 * KVM_SET_SREGS, components in KVM_SET_XCRS, registers in KVM_SET_MSRS.
 */
#ifndef TSVM_CPUID_H
#define TSVM_CPUID_H

#include <linux/kvm.h>
#include <stddef.h>

/* KVM_MAX_CPUID_ENTRIES of Linux since 5.11: KVM neither accepts nor reports more. */
#define CPUID_ENTRIES_MAX 256

/*
 * KVM_GET_SUPPORTED_CPUID. `entries` has room for CPUID_ENTRIES_MAX. Returns the number of entries,
 * or -errno.
 */
int kvm_get_supported_cpuid(int kvm_fd, struct kvm_cpuid_entry2 *entries);

/* KVM_SET_CPUID2. Returns 0 or -errno; -E2BIG for more than CPUID_ENTRIES_MAX. */
int kvm_set_cpuid(int vcpu_fd, const struct kvm_cpuid_entry2 *entries, size_t count);

#endif
