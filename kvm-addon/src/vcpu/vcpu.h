/* One virtual CPU: a thread around KVM_RUN. */
#ifndef TSVM_VCPU_H
#define TSVM_VCPU_H

#include <linux/kvm.h>

#include "vcpu_shared.h"

struct cpu;
struct emu_cpu;

/* Written by the vCPU's thread alone; read at any time. */
struct vcpu_counters {
    uint64_t exits;       /* returns of KVM_RUN */
    uint64_t fast;        /* register accesses carried out here */
    uint64_t slow;        /* register accesses handed to JavaScript */
    uint64_t unassigned;  /* accesses to addresses that no device has */
    uint64_t interrupted; /* KVM_RUN ended by a signal or by KVM itself */
};

enum vcpu_phase {
    VCPU_PARKED,  /* waits for the order to run */
    VCPU_RUNNING, /* executes guest code or handles an exit */
    VCPU_WAITING, /* in a slow exit, amid an instruction: JavaScript has its slot */
    VCPU_ENDED,   /* the thread is gone or about to go */
};

struct vcpu {
    struct vcpu_group *group;
    unsigned index;
    int fd;
    struct kvm_run *run;
    struct tsvm_exit_slot *slot;
    struct emu_cpu *emulator; /* on kvm-pvm without the engine, else NULL */
    struct cpu *cpu;          /* on kvm-pvm with the engine (pvm/engine.h), else NULL */
    pthread_t thread;
    pthread_cond_t slot_returned;
    enum vcpu_phase phase; /* under the group's lock */
    bool mid_instruction;  /* the next KVM_RUN completes what the last exit began */
    struct vcpu_counters counters;
    char failure[256]; /* why the vCPU ended, for a person */
};

bool vcpu_init(struct vcpu *vcpu, struct vcpu_group *group, unsigned index,
               struct vm_error *failed);
void vcpu_destroy(struct vcpu *vcpu);

/* The thread's body; `argument` is the vCPU. */
void *vcpu_thread(void *argument);

/* For the engine's loop, which runs in the place of the one here. */
/* Waits while the order is to park. False: stop. */
bool vcpu_obey_order(struct vcpu *vcpu);
/*
 * One access to a device register, 1 to 8 bytes wide: without JavaScript, false when that cannot
 * be; with it, false when the order to stop came while it waited.
 */
bool vcpu_access_fast(struct vcpu *vcpu, enum bus_space space, uint64_t address, uint32_t width,
                      bool is_write, uint64_t *data);
bool vcpu_access_slow(struct vcpu *vcpu, enum bus_space space, uint64_t address, uint32_t width,
                      bool is_write, uint64_t *data);
/* Serves KVM_EXIT_IO or KVM_EXIT_MMIO. False: the order to stop came while it waited. */
bool vcpu_serve_device(struct vcpu *vcpu);

/* Makes KVM_RUN return soon, or not start. Takes no lock. */
void vcpu_interrupt(struct vcpu *vcpu);
/* Installs the process-wide handler of the signal that vcpu_interrupt() sends. */
void vcpu_install_signal_handler(void);

/* True when the thread is parked or has ended. The group's lock is held. */
bool vcpu_is_parked(const struct vcpu *vcpu);
/* The same, and takes the lock: then others may read and write the vCPU's state. */
bool vcpu_is_at_rest(struct vcpu *vcpu);

/* JavaScript gives the slot back. */
void vcpu_complete_exit(struct vcpu *vcpu);

#endif
