/* What the vCPU threads of one VM share: the order to run, park or stop, and what they run on. */
#ifndef TSVM_VCPU_SHARED_H
#define TSVM_VCPU_SHARED_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../include/tsvm/exit_slot_abi.h"
#include "../bus/bus.h"
#include "../kvm/vm.h"
#include "../util/wake.h"
#include "debug_settings.h"

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

    /* Written under the lock. Running vCPUs read it without the lock, then park under the lock. */
    enum vcpu_order order;
    bool paused; /* under the lock, as `held`: either of them makes the order one to park */
    bool held;   /* by a debugger */
    struct vcpu_debug debug;
    uint32_t debug_step_flags; /* of KVM_SET_GUEST_DEBUG */
    pthread_mutex_t lock;
    pthread_cond_t order_changed;
};

#endif
