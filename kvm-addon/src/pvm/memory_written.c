/* Writes to guest memory by devices, and the bitmap of dirty pages. */
#include "engine.h"
#include "engine_api.h"
#include "safepoint.h"
#include "tables.h"

void engine_memory_written(struct engine *engine, uint64_t gpa, uint64_t length)
{
    if (length == 0 || !guest_memory_at(engine->memory, gpa, length))
        return;
    uint64_t last = (gpa + length - 1) >> 12;
    for (uint64_t number = gpa >> 12; number <= last; number++) {
        struct frame *frame = &engine->frames.of[number];
        /*
         * A vCPU that decodes code or scans a table marks the frame, then reads it; the writer
         * wrote first, then (after the barrier of its locked operation) reads the marks. One sees
         * the other.
         */
        uint32_t flags = __atomic_fetch_or(&frame->flags, FRAME_DIRTY, __ATOMIC_SEQ_CST);
        if (flags & FRAME_TABLE)
            tables_frame_written(engine, number);
        if (__atomic_load_n(&frame->code_cpus, __ATOMIC_SEQ_CST))
            safepoint_invalidate_code(engine, NULL, number);
    }
}

void engine_take_dirty(struct engine *engine, uint64_t gpa, uint64_t frames, uint64_t *bitmap)
{
    struct frame *of = engine->frames.of + (gpa >> 12);
    for (uint64_t i = 0; i < frames; i++) {
        if (!(__atomic_load_n(&of[i].flags, __ATOMIC_RELAXED) & FRAME_DIRTY))
            continue;
        __atomic_fetch_and(&of[i].flags, ~FRAME_DIRTY, __ATOMIC_SEQ_CST);
        bitmap[i / 64] |= 1ull << i % 64;
    }
    /* Writes through older TLB entries would not be recorded. */
    safepoint_drop_writes(engine);
}
