/*
 * Runs unmodified guests on kvm-pvm, the KVM without VT-x or AMD-V whose instruction emulator
 * executes CPL 0: completes the instructions that the emulator refuses (fixup.h) and turns
 * SYSCALL into a real change of privilege level (syscall.h). A host with hardware
 * virtualization never enters any emu_ file; kvm/host_probe.h tells which host it is.
 */
#ifndef TSVM_EMULATOR_COMPAT_H
#define TSVM_EMULATOR_COMPAT_H

#include "../memory/guest_memory.h"
#include "decode.h"
#include "state.h"
#include "xsave_layout.h"

/* Counters: one per instruction kind, then these. */
enum emu_counter {
    EMU_COUNTER_SYSCALL = EMU_INSN_KINDS, /* SYSCALLs brought to CPL 0 */
    EMU_COUNTER_MSR,                      /* accesses to the MSRs that are kept here */
    EMU_COUNTER_FAULT,                    /* exceptions that a completed instruction raised */
    EMU_COUNTER_REFETCH,                  /* instructions whose bytes KVM gave in part */
    EMU_COUNTERS,
};

/* By counter; never NULL. */
const char *emu_counter_name(unsigned counter);

struct emu_vm {
    int vm_fd;
    const struct guest_memory *memory;
    unsigned slot;
    uint64_t shim_gpa;
    void *shim_page;
    struct emu_xsave_layout xsave;
};

/* What the guest has set up for SYSCALL, also for a snapshot (syscall.h). */
struct emu_syscall_state {
    uint64_t star;
    uint64_t lstar;
    uint64_t sfmask;
    bool sce;         /* EFER.SCE */
    bool shim_mapped; /* LSTAR was written, and the guest's page table has the shim */
};

/* Owned by its vCPU's thread. */
struct emu_cpu {
    struct emu_vm *vm;
    struct emu_state state;
    struct emu_syscall_state syscall;
    uint64_t counters[EMU_COUNTERS];
    char error[192];                       /* after EMU_FAILED: why, for a person */
    uint8_t image[EMU_XSAVE_IMAGE_LENGTH]; /* scratch of the XSAVE family */
};

enum emu_result {
    EMU_NOT_MINE, /* nothing was touched: the exit is another's */
    EMU_HANDLED,  /* call KVM_RUN again, before anything else looks at the vCPU's registers */
    EMU_FAILED,   /* the vCPU cannot go on: see emu_cpu.error */
};

/*
 * Sets up the MSR filter and maps the SYSCALL shim into memory slot `slot` at `shim_gpa`, a
 * multiple of 2 MiB; nothing else may be put in the 2 MiB from there. To be called before vCPUs
 * are made. `memory` outlives the VM. Returns 0, -EINVAL (`shim_gpa`), -ENOTSUP (KVM lacks a
 * capability) or the -errno of the failed call; on failure everything is undone.
 */
int emu_vm_init(struct emu_vm *vm, int vm_fd, const struct guest_memory *memory, unsigned slot,
                uint64_t shim_gpa);
/* After the VM is closed: taking its slot away from it while it lives would cost milliseconds. */
void emu_vm_destroy(struct emu_vm *vm);

/* Returns 0 or -errno. The vCPU owns nothing that would have to be freed. */
int emu_cpu_init(struct emu_cpu *cpu, struct emu_vm *vm, int vcpu_fd, struct kvm_run *run);

/*
 * To be called after each KVM_RUN that returned 0. After EMU_HANDLED changes of registers wait in
 * the page shared with KVM until the next KVM_RUN, be it one with immediate_exit set.
 */
enum emu_result emu_cpu_handle_exit(struct emu_cpu *cpu);

/*
 * Restores the SYSCALL state of a snapshot, in KVM too: to be called after the other MSRs and
 * segments are set, with EFER.SCE clear among them. Returns 0 or -errno.
 */
int emu_cpu_restore(struct emu_cpu *cpu, const struct emu_syscall_state *saved);

#endif
