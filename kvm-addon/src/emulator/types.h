/* What is kept of a VM and of a vCPU on this route. */
#ifndef TSVM_EMULATOR_TYPES_H
#define TSVM_EMULATOR_TYPES_H

#include "../memory/guest_memory.h"
#include "insn.h"
#include "state.h"
#include "xsave_layout.h"

/* Counters. One per instruction kind comes first, then these. */
enum emu_counter {
    EMU_COUNTER_SYSCALL = EMU_INSN_KINDS, /* SYSCALLs switched to CPL 0 */
    EMU_COUNTER_MSR,                      /* accesses to the MSRs handled here */
    EMU_COUNTER_FAULT,                    /* exceptions raised by executed instructions */
    EMU_COUNTER_REFETCH,                  /* instructions of which KVM reported only a part */
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

/* The guest's SYSCALL configuration (syscall.h); part of a snapshot. */
struct emu_syscall_state {
    uint64_t star;
    uint64_t lstar;
    uint64_t sfmask;
    bool sce;         /* EFER.SCE */
    bool shim_mapped; /* the guest has written LSTAR, and its page table maps the shim */
};

/* Owned by its vCPU's thread. */
struct emu_cpu {
    struct emu_vm *vm;
    struct emu_state state;
    struct emu_syscall_state syscall;
    uint64_t counters[EMU_COUNTERS];
    char error[192];                       /* after EMU_FAILED: error message */
    uint8_t image[EMU_XSAVE_IMAGE_LENGTH]; /* scratch of the XSAVE family */
};

enum emu_result {
    EMU_NOT_MINE, /* not handled here, nothing changed */
    EMU_HANDLED,  /* call KVM_RUN again before accessing the vCPU's registers */
    EMU_FAILED,   /* the vCPU cannot continue: see emu_cpu.error */
};

#endif
