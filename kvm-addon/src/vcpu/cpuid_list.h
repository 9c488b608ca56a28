/* The CPUID that vCPUs can have. */
#ifndef TSVM_CPUID_LIST_H
#define TSVM_CPUID_LIST_H

#include <pthread.h>
#include <stdbool.h>

#include "../kvm/cpuid.h"
#include "vcpu.h"

/* It is listed on a thread of its own, because KVM takes half a millisecond. */
struct cpuid_list {
    const struct vcpu *vcpu;
    pthread_t thread;
    bool runs; /* the thread has not been waited for */
    int count; /* of entries, or -errno */
    struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

/* Begins to list what vcpu_supported_cpuid() returns for a vCPU. */
void cpuid_list_begin(struct cpuid_list *list, const struct vcpu *vcpu);

/* Waits for the list's end; the vCPU must not change before. Idempotent. */
void cpuid_list_wait(struct cpuid_list *list);

#endif
