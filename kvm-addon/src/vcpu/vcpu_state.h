/*
 * The architectural state of a vCPU that is not running, in KVM's structures.
 *
 * KVM validates some state against earlier state, so set it in this order: CPUID (kvm/cpuid.h),
 * sregs (CR4.OSXSAVE, the local APIC's base and mode), xcrs, xsave, lapic, MSRs (the TSC deadline
 * needs the local APIC's timer), then the rest in any order.
 *
 * This is C and not part of the C++ layer, because in C++ the flexible arrays of the UAPI headers
 * change the size of structures, and with it the ioctl numbers.
 */
#ifndef TSVM_VCPU_STATE_H
#define TSVM_VCPU_STATE_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "vcpu.h"

/* Maximum number of MSRs in one KVM_GET_MSRS or KVM_SET_MSRS. */
#define MSRS_MAX 255
/* Size of the largest structure, bytes. */
#define VCPU_STATE_SIZE_MAX 4096

/* A kind of state: its name in JavaScript and its get and set ioctls. */
struct vcpu_state_kind {
    const char *name;
    const char *get_call;
    const char *set_call;
    unsigned long get;
    unsigned long set;
    size_t size;
};

/* Returns NULL for an unknown name. */
const struct vcpu_state_kind *vcpu_state_find(const char *name);

/* `state` has the kind's size. Returns 0 or -errno; -EBUSY while the engine runs the vCPU. */
int vcpu_get_state(struct vcpu *vcpu, const struct vcpu_state_kind *kind, void *state);
int vcpu_set_state(struct vcpu *vcpu, const struct vcpu_state_kind *kind, const void *state);

/*
 * KVM_GET_SUPPORTED_CPUID, or the CPUID that the engine supports; the same for all vCPUs. `entries`
 * has room for CPUID_ENTRIES_MAX. Returns the number of entries, or -errno.
 */
int vcpu_supported_cpuid(const struct vcpu *vcpu, struct kvm_cpuid_entry2 *entries);
/* Returns 0 or -errno; -E2BIG for more than CPUID_ENTRIES_MAX. */
int vcpu_set_cpuid(struct vcpu *vcpu, const struct kvm_cpuid_entry2 *entries, size_t count);

/* Returns 0 or -errno; -EINVAL for an unsupported MSR, -E2BIG for more than MSRS_MAX. */
int vcpu_get_msrs(struct vcpu *vcpu, const uint32_t *indices, uint64_t *values, size_t count);
int vcpu_set_msrs(struct vcpu *vcpu, const uint32_t *indices, const uint64_t *values, size_t count);

#endif
