/*
 * The vCPU threads of a VM, which follow an order to run, park or stop. JavaScript gives orders and
 * never waits for a thread; each change of a thread's phase wakes it.
 */
#ifndef TSVM_VCPU_GROUP_H
#define TSVM_VCPU_GROUP_H

#include "vcpu_shared.h"

/* How CPL 0 runs on kvm-pvm: exactly one is set. On hosts with VT-x or AMD-V neither is. */
struct vcpu_platform {
    struct emu_vm *emulator;
    struct engine *engine;
};

/*
 * Creates `count` parked vCPUs. `slots` must outlive the group. On failure undoes everything and
 * `failed` names the call.
 */
bool vcpu_group_init(struct vcpu_group *group, struct vm *vm, struct vcpu_platform platform,
                     unsigned count, struct tsvm_exit_slot *slots, struct wake wake,
                     struct vm_error *failed);

/* Starts the threads, which run at once. Returns 0 or -errno of pthread_create. */
int vcpu_group_start(struct vcpu_group *group);
void vcpu_group_order(struct vcpu_group *group, enum vcpu_order order);
/* Gives the order that `paused` and `held` make. Under the lock. */
void vcpu_group_apply(struct vcpu_group *group);
/*
 * True when the order is to park or stop and each thread has parked or ended. A vCPU in a slow exit
 * is not parked: its instruction is incomplete, so its registers are inconsistent.
 */
bool vcpu_group_parked(struct vcpu_group *group);
/* Stops and joins the threads, each within microseconds, and closes the vCPUs. */
void vcpu_group_destroy(struct vcpu_group *group);

#endif
