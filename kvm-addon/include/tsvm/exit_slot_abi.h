/* The mailbox between a vCPU thread and JavaScript: one 64-byte slot per vCPU in shared memory. */
#ifndef TSVM_EXIT_SLOT_ABI_H
#define TSVM_EXIT_SLOT_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* Owner of the slot. The vCPU thread writes PENDING last; JavaScript reads it first. */
enum tsvm_exit_state {
    TSVM_EXIT_IDLE = 0,
    TSVM_EXIT_PENDING = 1,
    TSVM_EXIT_CLAIMED = 2, /* pending; JavaScript is handling it asynchronously */
};

enum tsvm_exit_kind {
    TSVM_EXIT_READ = 1,     /* JavaScript writes data */
    TSVM_EXIT_WRITE = 2,    /* JavaScript reads data */
    TSVM_EXIT_SHUTDOWN = 3, /* triple fault; the thread has ended */
    TSVM_EXIT_FAILED = 4,   /* fatal error; the thread has ended; see failureText() */
    TSVM_EXIT_DEBUG = 5,    /* all vCPUs are held for the debugger; `data_low` says why */
};

/* Why a vCPU stopped for the debugger; more than one may be true. */
enum tsvm_debug_cause {
    TSVM_DEBUG_HITS = 0xf,          /* the breakpoints of DR0 to DR3 that were hit */
    TSVM_DEBUG_STEP = 1 << 4,       /* the single step was made */
    TSVM_DEBUG_BREAKPOINT = 1 << 5, /* it is at one of the list of breakpoints */
};

struct tsvm_exit_slot {
    uint32_t state;
    uint32_t kind;
    uint32_t bank;   /* number returned by attachBank() */
    uint32_t offset; /* within the bank, bytes */
    uint32_t width;  /* 1, 2, 4 or 8 bytes */
    uint32_t reserved;
    uint32_t data_low;
    uint32_t data_high;
    uint8_t padding[32]; /* to a cache line */
};

static_assert(sizeof(struct tsvm_exit_slot) == 64, "one cache line");
static_assert(offsetof(struct tsvm_exit_slot, kind) == 4, "shared with vmm/kvm/exit-slots.ts");
static_assert(offsetof(struct tsvm_exit_slot, bank) == 8, "shared with vmm/kvm/exit-slots.ts");
static_assert(offsetof(struct tsvm_exit_slot, offset) == 12, "shared with vmm/kvm/exit-slots.ts");
static_assert(offsetof(struct tsvm_exit_slot, width) == 16, "shared with vmm/kvm/exit-slots.ts");
static_assert(offsetof(struct tsvm_exit_slot, data_low) == 24, "shared with vmm/kvm/exit-slots.ts");

#endif
