/* State of a vCPU's run loop (run.c). */
#ifndef TSVM_PVM_LOOP_H
#define TSVM_PVM_LOOP_H

#include "cpu.h"

/* How busy a vCPU is (rest.c). */
struct cpu_rest {
    uint64_t since_ns;  /* when it last woke up */
    uint64_t window_ns; /* since when `awake_ns` counts */
    uint64_t awake_ns;
    bool gave_back; /* and was not busy since */
};

/* All but the architectural state. Owned by the vCPU's thread. */
struct cpu_loop {
    int32_t slice;        /* taken jumps until the next check of the clock */
    int32_t user_budget;  /* taken jumps that CPL 3 may still be interpreted */
    bool user_was_useful; /* CPL 3 accessed a device, where the interpreter is faster */
    bool stepping;        /* KVM_GUESTDBG_SINGLESTEP is on */
    bool installed;       /* KVM has the SYSCALL shim in its MSRs (state.h) */
    bool halted;          /* HLT was executed and has not ended yet */
    bool nmi_arrived;     /* taken from KVM, not yet delivered */
    bool clock_set;       /* KVM has to write the clock's page before the guest reads it */
    uint64_t legacy_efer; /* bits that KVM does not know, set before long mode */
    bool steps;           /* for a debugger: one instruction, then stop */
    bool executed;        /* interpret_single() has executed its instruction */
    bool refused;         /* KVM failed during an instruction: see vcpu->failure */
    uint32_t spins;       /* cpu.spins at the last check */
    uint32_t spun_slices; /* that were spent spinning, up to now */

    struct cpu_rest rest;

    /* A fault of a native run, delivered only if the interpreter does not know the instruction. */
    struct cpu_exception doubted;
    uint64_t doubted_rip;
    bool has_doubted;
    /* The last native #PF that the guest's own tables did not explain. */
    uint64_t unexplained_va;
    uint64_t unexplained_rip;
};

#endif
