/*
 * The architectural state of a vCPU that is not running, as KVM's own structures.
 *
 * KVM checks some of it against what is already there, so the order matters: CPUID (kvm/cpuid.h),
 * sregs (CR4.OSXSAVE, the local APIC's base and mode), xcrs, xsave, lapic, MSRs (the TSC deadline
 * needs the local APIC's timer), then the rest in any order.
 *
 * Here and not in the C++ layer: in C++ the UAPI's flexible arrays make structures longer, and with
 * them the numbers of the ioctls.
 */
#ifndef TSVM_VCPU_STATE_H
#define TSVM_VCPU_STATE_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "vcpu.h"

/* KVM_GET_MSRS and KVM_SET_MSRS take as many in one call. */
#define MSRS_MAX 255
/* The largest structure of all kinds, bytes. */
#define VCPU_STATE_SIZE_MAX 4096

/* A kind of state: what JavaScript calls it, and the calls that get and set it. */
struct vcpu_state_kind {
    const char *name;
    const char *get_call;
    const char *set_call;
    unsigned long get;
    unsigned long set;
    size_t size;
};

/* NULL when there is no such kind. */
const struct vcpu_state_kind *vcpu_state_find(const char *name);

/* `state` has the kind's size. Returns 0 or -errno; -EBUSY while the engine runs the vCPU. */
int vcpu_get_state(struct vcpu *vcpu, const struct vcpu_state_kind *kind, void *state);
int vcpu_set_state(struct vcpu *vcpu, const struct vcpu_state_kind *kind, const void *state);

/*
 * KVM_GET_SUPPORTED_CPUID, or what the engine offers: the same for all vCPUs. `entries` has room
 * for CPUID_ENTRIES_MAX. Returns how many, or -errno.
 */
int vcpu_supported_cpuid(const struct vcpu *vcpu, struct kvm_cpuid_entry2 *entries);
/* Returns 0 or -errno; -E2BIG for more than CPUID_ENTRIES_MAX. */
int vcpu_set_cpuid(struct vcpu *vcpu, const struct kvm_cpuid_entry2 *entries, size_t count);

/* Returns 0 or -errno; -EINVAL for an MSR that KVM does not have, -E2BIG beyond MSRS_MAX. */
int vcpu_get_msrs(struct vcpu *vcpu, const uint32_t *indices, uint64_t *values, size_t count);
int vcpu_set_msrs(struct vcpu *vcpu, const uint32_t *indices, const uint64_t *values, size_t count);

#endif
