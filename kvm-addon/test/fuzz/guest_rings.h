/* Guest memory whose contents are the fuzzer's, with the rings in it. */
#ifndef TSVM_FUZZ_GUEST_RINGS_H
#define TSVM_FUZZ_GUEST_RINGS_H

#include <stdlib.h>
#include <string.h>

#include "../../src/virtio/virtqueue.h"

/* Small, so that random addresses often hit; with a hole between. */
#define RINGS_LOW_SIZE 0x10000u
#define RINGS_HIGH_GPA 0x18000u
#define RINGS_HIGH_SIZE 0x1000u

#define RINGS_QUEUE_SIZE_MAX 128u

static inline const struct guest_memory *rings_memory(void)
{
    static struct guest_memory memory;
    if (memory.count == 0 && (guest_memory_add(&memory, 0, RINGS_LOW_SIZE) < 0 ||
                              guest_memory_add(&memory, RINGS_HIGH_GPA, RINGS_HIGH_SIZE) < 0))
        abort();
    return &memory;
}

/* Whether a buffer lies in one region. */
static inline bool rings_contain(const struct iovec *buffer)
{
    const struct guest_memory *memory = rings_memory();
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_memory_region *region = &memory->regions[i];
        uint64_t offset = (uint64_t)((uint8_t *)buffer->iov_base - region->hva);
        if ((uint8_t *)buffer->iov_base >= region->hva && offset < region->size &&
            buffer->iov_len <= region->size - offset)
            return true;
    }
    return false;
}

/*
 * Fills guest memory with the input, whose first byte says what the queue is like. Without bit 5
 * its three parts follow each other from address 0, else the next 12 bytes tell where they are.
 * Returns false when the input is too short or the rings are refused.
 */
static inline bool rings_init(struct virtqueue *queue, const uint8_t *data, size_t size)
{
    const struct guest_memory *memory = rings_memory();
    if (size < 13)
        return false;
    uint32_t places[3];
    memcpy(places, data + 1, sizeof(places));
    struct virtqueue_config config = {
        .size = 1u << (data[0] & 7), .event_idx = data[0] & 8, .indirect = data[0] & 16};
    config.available_gpa = config.size * 16;
    config.used_gpa = (config.available_gpa + 6 + config.size * 2 + 3) & ~3ull;
    if (data[0] & 32) {
        config.descriptor_gpa = places[0];
        config.available_gpa = places[1];
        config.used_gpa = places[2];
        data += sizeof(places);
        size -= sizeof(places);
    }
    data++;
    size--;
    if (size > RINGS_LOW_SIZE)
        size = RINGS_LOW_SIZE;
    memcpy(memory->regions[0].hva, data, size);
    memset(memory->regions[0].hva + size, 0, RINGS_LOW_SIZE - size);
    return virtqueue_init(queue, memory, &config) == 0;
}

#endif
