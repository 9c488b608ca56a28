/* How a vCPU goes on: results of what its run loop calls. */
#ifndef TSVM_PVM_PROGRESS_H
#define TSVM_PVM_PROGRESS_H

#include "cpu.h"
#include "system.h"

enum progress {
    PROGRESS,          /* the vCPU's state is up to date: continue */
    PROGRESS_STOPPED,  /* ordered to stop while waiting for a device */
    PROGRESS_FAILED,   /* see vcpu->failure */
    PROGRESS_SHUTDOWN, /* triple fault */
};

enum progress progress_after(enum delivery delivery);

/* Delivers an exception through the guest's IDT. */
enum progress progress_deliver(struct cpu *cpu, const struct cpu_exception *exception);

#endif
