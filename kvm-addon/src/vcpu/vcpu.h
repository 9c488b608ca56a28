/* One virtual CPU: a thread around KVM_RUN. */
#ifndef TSVM_VCPU_H
#define TSVM_VCPU_H

#include <linux/kvm.h>

#include "vcpu_shared.h"

struct cpu;
struct emu_cpu;

/* Written only by the vCPU's thread; read at any time. */
struct vcpu_counters {
    uint64_t exits;       /* returns of KVM_RUN */
    uint64_t fast;        /* register accesses handled by this thread */
    uint64_t slow;        /* register accesses passed to JavaScript */
    uint64_t unassigned;  /* accesses to addresses without a device */
    uint64_t interrupted; /* KVM_RUN ended by a signal or with EAGAIN */
};

enum vcpu_phase {
    VCPU_PARKED,  /* waits for the order to run */
    VCPU_RUNNING, /* executes guest code or handles an exit */
    VCPU_WAITING, /* in a slow exit, within an instruction: JavaScript owns its slot */
    VCPU_ENDED,   /* the thread has ended or is about to end */
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
    bool held;             /* stays parked when the debugger releases others; the same */
    bool debug_steps;      /* executes one instruction for the debugger; set while parked */
    bool mid_instruction;  /* the next KVM_RUN completes the instruction of the last exit */
    struct vcpu_counters counters;
    char failure[256]; /* error message: why the vCPU ended */
};

bool vcpu_init(struct vcpu *vcpu, struct vcpu_group *group, unsigned index,
               struct vm_error *failed);
void vcpu_destroy(struct vcpu *vcpu);

/* The thread's start routine; `argument` is the vCPU. */
void *vcpu_thread(void *argument);

/* The following functions serve the engine's run loop, which replaces the one of vcpu.c. */
/* Waits while the order is to park. Returns false if the order is to stop. */
bool vcpu_obey_order(struct vcpu *vcpu);
/*
 * One access to a device register, 1 to 8 bytes wide. vcpu_access_fast() returns false if it needs
 * JavaScript; the other waits for JavaScript and returns false if ordered to stop meanwhile.
 */
bool vcpu_access_fast(struct vcpu *vcpu, enum bus_space space, uint64_t address, uint32_t width,
                      bool is_write, uint64_t *data);
bool vcpu_access_slow(struct vcpu *vcpu, enum bus_space space, uint64_t address, uint32_t width,
                      bool is_write, uint64_t *data);
/* Handles KVM_EXIT_IO or KVM_EXIT_MMIO. False: ordered to stop while waiting. */
bool vcpu_serve_device(struct vcpu *vcpu);

/*
 * The same, of a debugger (vcpu_debug.c). Between two instructions: holds the group and passes
 * `causes` (enum tsvm_debug_cause) to JavaScript.
 */
void vcpu_debug_stop(struct vcpu *vcpu, uint32_t causes);
/* KVM_EXIT_DEBUG: a stop, or the guest's own exception, which it gets. Returns 0 or -errno. */
int vcpu_debug_exit(struct vcpu *vcpu);

/* Makes a current or future KVM_RUN return. Takes no lock. */
void vcpu_interrupt(struct vcpu *vcpu);
/* Installs the process-wide handler of the signal that vcpu_interrupt() sends. */
void vcpu_install_signal_handler(void);

/* True when the thread is parked or has ended. The group's lock is held. */
bool vcpu_is_parked(const struct vcpu *vcpu);
/* As vcpu_is_parked(), but takes the lock. If true, the vCPU's state may be read and written. */
bool vcpu_is_at_rest(struct vcpu *vcpu);

/* JavaScript has completed the exit: the vCPU continues. */
void vcpu_complete_exit(struct vcpu *vcpu);

#endif
