/*
 * Runs unmodified guests on kvm-pvm, the KVM without VT-x or AMD-V whose instruction emulator
 * executes CPL 0: completes the instructions that the emulator refuses (pvm_fixup.h) and turns
 * SYSCALL into a real change of privilege level (pvm_syscall.h). A host with hardware
 * virtualization never enters any pvm_ file; kvm/host_probe.h tells which host it is.
 */
#ifndef TSVM_PVM_COMPAT_H
#define TSVM_PVM_COMPAT_H

#include "../memory/guest_memory.h"
#include "pvm_decode.h"
#include "pvm_state.h"
#include "pvm_xsave_layout.h"

/* Counters: one per instruction kind, then these. */
enum pvm_counter {
    PVM_COUNTER_SYSCALL = PVM_INSN_KINDS, /* SYSCALLs brought to CPL 0 */
    PVM_COUNTER_MSR,                      /* accesses to the MSRs that are kept here */
    PVM_COUNTER_FAULT,                    /* exceptions that a completed instruction raised */
    PVM_COUNTER_REFETCH,                  /* instructions whose bytes KVM gave in part */
    PVM_COUNTERS,
};

/* By counter; never NULL. */
const char *pvm_counter_name(unsigned counter);

struct pvm_vm {
    int vm_fd;
    const struct guest_memory *memory;
    unsigned slot;
    uint64_t shim_gpa;
    void *shim_page;
    struct pvm_xsave_layout xsave;
};

/* What the guest has set up for SYSCALL, also for a snapshot (pvm_syscall.h). */
struct pvm_syscall_state {
    uint64_t star;
    uint64_t lstar;
    uint64_t sfmask;
    bool sce;         /* EFER.SCE */
    bool shim_mapped; /* LSTAR was written, and the guest's page table has the shim */
};

/* Owned by its vCPU's thread. */
struct pvm_cpu {
    struct pvm_vm *vm;
    struct pvm_state state;
    struct pvm_syscall_state syscall;
    uint64_t counters[PVM_COUNTERS];
    char error[192];                       /* after PVM_FAILED: why, for a person */
    uint8_t image[PVM_XSAVE_IMAGE_LENGTH]; /* scratch of the XSAVE family */
};

enum pvm_result {
    PVM_NOT_MINE, /* nothing was touched: the exit is another's */
    PVM_HANDLED,  /* call KVM_RUN again, before anything else looks at the vCPU's registers */
    PVM_FAILED,   /* the vCPU cannot go on: see pvm_cpu.error */
};

/*
 * Sets up the MSR filter and maps the SYSCALL shim into memory slot `slot` at `shim_gpa`, a
 * multiple of 2 MiB; nothing else may be put in the 2 MiB from there. To be called before vCPUs
 * are made. `memory` outlives the VM. Returns 0, -EINVAL (`shim_gpa`), -ENOTSUP (KVM lacks a
 * capability) or the -errno of the failed call; on failure everything is undone.
 */
int pvm_vm_init(struct pvm_vm *vm, int vm_fd, const struct guest_memory *memory, unsigned slot,
                uint64_t shim_gpa);
/* After the VM is closed: taking its slot away from it while it lives would cost milliseconds. */
void pvm_vm_destroy(struct pvm_vm *vm);

/* Returns 0 or -errno. The vCPU owns nothing that would have to be freed. */
int pvm_cpu_init(struct pvm_cpu *cpu, struct pvm_vm *vm, int vcpu_fd, struct kvm_run *run);

/*
 * To be called after each KVM_RUN that returned 0. After PVM_HANDLED changes of registers wait in
 * the page shared with KVM until the next KVM_RUN, be it one with immediate_exit set.
 */
enum pvm_result pvm_cpu_handle_exit(struct pvm_cpu *cpu);

/*
 * Restores the SYSCALL state of a snapshot, in KVM too: to be called after the other MSRs and
 * segments are set, with EFER.SCE clear among them. Returns 0 or -errno.
 */
int pvm_cpu_restore(struct pvm_cpu *cpu, const struct pvm_syscall_state *saved);

#endif
