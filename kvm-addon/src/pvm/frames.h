/*
 * What the engine knows of each guest page frame, for all vCPUs of a VM: who has decoded code of
 * it, whether it is a page table, whether it was written. Memory for it is touched as it is used.
 */
#ifndef TSVM_PVM_FRAMES_H
#define TSVM_PVM_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "../memory/guest_memory.h"

struct frame {
    uint32_t code_cpus;  /* atomic: bit n: vCPU n has decoded code of it */
    uint8_t table_level; /* atomic: 1 to 5 for a page table that KVM may have shadowed; 0 */
    uint8_t flags;       /* atomic: FRAME_DIRTY */
};

#define FRAME_DIRTY 1u

struct frames {
    struct frame *of; /* by gpa >> 12; NULL entries of the device hole stay untouched */
    uint64_t count;
};

/* Returns 0 or -ENOMEM. */
int frames_init(struct frames *frames, const struct guest_memory *memory);
void frames_destroy(struct frames *frames);

#endif
