/*
 * What the vCPU threads of one VM share: the order to run, park or stop, and who has followed it.
 * JavaScript gives orders and never waits for a thread: each change of a thread's phase wakes it.
 */
#ifndef TSVM_VCPU_GROUP_H
#define TSVM_VCPU_GROUP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../include/tsvm/exit_slot_abi.h"
#include "../bus/bus.h"
#include "../kvm/vm.h"
#include "../util/wake.h"

#define VCPU_GROUP_MAX 32

enum vcpu_order { VCPU_ORDER_PARK, VCPU_ORDER_RUN, VCPU_ORDER_STOP };

struct engine;
struct emu_vm;
struct vcpu;

struct vcpu_group {
    struct vm *vm;
    struct bus bus;
    struct wake wake;
    struct emu_vm *emulator; /* on kvm-pvm without the engine, else NULL */
    struct engine *engine;   /* on kvm-pvm with the engine, else NULL */
    struct tsvm_exit_slot *slots;
    struct vcpu *vcpus;
    unsigned count;
    bool started;

    /* Written under the lock; read without it by running vCPUs, which then park under the lock. */
    enum vcpu_order order;
    pthread_mutex_t lock;
    pthread_cond_t order_changed;
};

/* What the vCPUs run on besides KVM: one of them, or on a host with VT-x or AMD-V neither. */
struct vcpu_platform {
    struct emu_vm *emulator;
    struct engine *engine;
};

/*
 * Creates `count` vCPUs, parked. `slots` are in memory that outlives the group. On failure all is
 * undone and `failed` names the call.
 */
bool vcpu_group_init(struct vcpu_group *group, struct vm *vm, struct vcpu_platform platform,
                     unsigned count, struct tsvm_exit_slot *slots, struct wake wake,
                     struct vm_error *failed);

/* Starts the threads, running. Returns 0 or -errno of pthread_create. */
int vcpu_group_start(struct vcpu_group *group);
void vcpu_group_order(struct vcpu_group *group, enum vcpu_order order);
/*
 * True when the order is not to run and each thread has parked or ended. A vCPU in a slow exit has
 * not: its instruction is unfinished, so its registers are not those of any moment.
 */
bool vcpu_group_parked(struct vcpu_group *group);
/* Stops and joins the threads (each ends within microseconds) and closes the vCPUs. */
void vcpu_group_destroy(struct vcpu_group *group);

#endif
