/* One virtual CPU: a thread around KVM_RUN. */
#ifndef TSVM_VCPU_H
#define TSVM_VCPU_H

#include <linux/kvm.h>

#include "vcpu_group.h"

struct pvm_cpu;

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
    VCPU_WAITING, /* in a slow exit: JavaScript has its slot */
    VCPU_ENDED,   /* the thread is gone or about to go */
};

struct vcpu {
    struct vcpu_group *group;
    unsigned index;
    int fd;
    struct kvm_run *run;
    struct tsvm_exit_slot *slot;
    struct pvm_cpu *pvm; /* NULL on a host with VT-x or AMD-V */
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

/* Makes KVM_RUN return soon, or not start. Takes no lock. */
void vcpu_interrupt(struct vcpu *vcpu);
/* Installs the process-wide handler of the signal that vcpu_interrupt() sends. */
void vcpu_install_signal_handler(void);

/* JavaScript gives the slot back. */
void vcpu_complete_exit(struct vcpu *vcpu);

#endif
