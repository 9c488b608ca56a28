/* CPL 3 on the processor itself. */
#ifndef TSVM_PVM_NATIVE_H
#define TSVM_PVM_NATIVE_H

#include "cpu.h"

/* How a run in KVM went on; the loop (run.h) acts on it. */
enum progress {
    PROGRESS,          /* the vCPU's state is up to date: go on */
    PROGRESS_STOPPED,  /* the order to stop came while a device was waited for */
    PROGRESS_FAILED,   /* see vcpu->failure */
    PROGRESS_SHUTDOWN, /* triple fault */
};

/*
 * Runs the guest's program until something is to be done for it: a system call, an exception, an
 * interrupt have then been delivered to the guest's kernel. CPL is 3, the code 64-bit or flat
 * 32-bit.
 */
enum progress native_run(struct cpu *cpu);

/* Delivers, and says so in the loop's words. */
enum progress native_deliver(struct cpu *cpu, const struct cpu_exception *exception);

#endif
