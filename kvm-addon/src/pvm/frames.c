#include "frames.h"

#include <errno.h>

#include "reserve.h"

int frames_init(struct frames *frames, const struct guest_memory *memory)
{
    uint64_t end = 0;
    for (unsigned i = 0; i < memory->count; i++) {
        uint64_t region_end = memory->regions[i].gpa + memory->regions[i].size;
        if (region_end > end)
            end = region_end;
    }
    frames->count = end >> 12;
    /* tables.c keeps frame numbers in 32 bits: 16 TiB. */
    if (frames->count == 0 || frames->count > UINT32_MAX)
        return -ENOMEM;
    frames->of = reserve(frames->count * sizeof(struct frame));
    if (!frames->of)
        return -ENOMEM;
    pthread_mutex_init(&frames->split_lock, NULL);
    return 0;
}

void frames_destroy(struct frames *frames)
{
    if (!frames->of)
        return;
    release(frames->of, frames->count * sizeof(struct frame));
    pthread_mutex_destroy(&frames->split_lock);
    frames->of = NULL;
}

bool frame_claim_write(struct frame *frame, unsigned cpu_index)
{
    /* Checked before, too: a special frame gets no entries, so its bit need not be set. */
    if (frame_is_special(frame))
        return false;
    uint32_t self = 1u << cpu_index;
    if (!(__atomic_load_n(&frame->write_cpus, __ATOMIC_SEQ_CST) & self))
        __atomic_fetch_or(&frame->write_cpus, self, __ATOMIC_SEQ_CST);
    if (frame_is_special(frame))
        return false;
    frame_set_flag(frame, FRAME_DIRTY);
    return true;
}
