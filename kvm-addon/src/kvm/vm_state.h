/*
 * The state of a VM besides its memory and its vCPUs: interrupt controllers, timer and clock, in
 * KVM's structures. No vCPU runs.
 */
#ifndef TSVM_VM_STATE_H
#define TSVM_VM_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "vm.h"

/* Size of the largest structure, bytes. */
#define VM_STATE_SIZE_MAX 1024

struct vm_state_kind {
    const char *name; /* in JavaScript */
    const char *get_call;
    const char *set_call;
    unsigned long get;
    unsigned long set;
    size_t size;
    uint32_t chip; /* for KVM_GET_IRQCHIP and KVM_SET_IRQCHIP */
};

/* Returns NULL for an unknown name. */
const struct vm_state_kind *vm_state_find(const char *name);

/*
 * `state` has the kind's size. Return 0 or -errno. The clock that is set goes on from that value,
 * however long ago it was read: set it last, after the vCPUs' TSCs.
 */
int vm_get_state(const struct vm *vm, const struct vm_state_kind *kind, void *state);
int vm_set_state(const struct vm *vm, const struct vm_state_kind *kind, void *state);

#endif
