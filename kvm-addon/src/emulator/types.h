/* What is kept of a VM and of a vCPU on this route. */
#ifndef TSVM_EMULATOR_TYPES_H
#define TSVM_EMULATOR_TYPES_H

#include "../memory/guest_memory.h"
#include "insn.h"
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

#endif
