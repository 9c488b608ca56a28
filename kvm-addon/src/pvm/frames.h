/*
 * The engine's state per guest page frame, shared by all vCPUs of a VM: which vCPUs have decoded
 * code of it, which may write to it through a TLB entry, whether it is a page table, and whether it
 * was written.
 *
 * A vCPU first sets its bit in `write_cpus`, then makes sure that the frame is neither code nor a
 * table, then makes a TLB write entry. A vCPU that marks a frame as code or table does so first,
 * then asks those in `write_cpus` to drop their entries (safepoint_protect_frame()). One of the two
 * sees the other. A bit in `write_cpus` stays set when the entry is replaced.
 */
#ifndef TSVM_PVM_FRAMES_H
#define TSVM_PVM_FRAMES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../memory/guest_memory.h"

/* 12 bytes for 4 KiB of RAM. All atomic. */
struct frame {
    uint32_t code_cpus;  /* bit n: vCPU n has decoded code of it */
    uint32_t write_cpus; /* bit n: the TLB of vCPU n may have write entries */
    uint32_t flags;      /* FRAME_DIRTY, FRAME_TABLE */
};

#define FRAME_DIRTY 1u /* was written since frames_take_dirty() */
#define FRAME_TABLE 2u /* a page table of which KVM may have a shadow: tables.h */

struct frames {
    struct frame *of; /* by gpa >> 12; NULL entries of the device hole stay untouched */
    uint64_t count;
    pthread_mutex_t split_lock; /* one locked operation over two cache lines at a time */
};

/* Returns 0 or -ENOMEM. */
int frames_init(struct frames *frames, const struct guest_memory *memory);
void frames_destroy(struct frames *frames);

/* The frame of an address in RAM. */
static inline struct frame *frame_at(const struct frames *frames, uint64_t gpa)
{
    return &frames->of[gpa >> 12];
}

static inline bool frame_is_special(const struct frame *frame)
{
    return __atomic_load_n(&frame->code_cpus, __ATOMIC_SEQ_CST) ||
           __atomic_load_n(&frame->flags, __ATOMIC_SEQ_CST) & FRAME_TABLE;
}

static inline void frame_set_flag(struct frame *frame, uint32_t flag)
{
    if (!(__atomic_load_n(&frame->flags, __ATOMIC_RELAXED) & flag))
        __atomic_fetch_or(&frame->flags, flag, __ATOMIC_SEQ_CST);
}

/* Whether this vCPU may write to the frame by a TLB entry, which marks it dirty. */
bool frame_claim_write(struct frame *frame, unsigned cpu_index);

#endif
