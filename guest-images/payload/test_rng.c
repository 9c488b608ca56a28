/* virtio-rng. */
#include <linux/virtio_ids.h>

#include "heap.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtqueue.h"

#define BUFFER_SIZE 256
#define READS 8

/* Asks for up to the length; returns what the device says it wrote, 0 if it does not answer. */
static uint32_t rng_read(struct virtqueue *queue, uint8_t *buffer, uint32_t length)
{
    struct segment segment = {buffer, length, VRING_DESC_F_WRITE};
    if (virtqueue_add(queue, &segment, 1, CHAIN_DIRECT) < 0)
        return 0;
    virtqueue_kick(queue);
    struct completion completion;
    for (uint64_t start = rdtsc(); !virtqueue_reap(queue, &completion); cpu_relax())
        if (timed_out(start))
            return 0;
    return completion.length;
}

static enum verdict rng(void)
{
    struct virtio_device *device = virtio_device_by_id(VIRTIO_ID_RNG, 0);
    if (!device)
        return test_skipped("no rng device");
    struct virtqueue queue;
    virtqueue_create(&queue, device, 0);
    REQUIRE(virtio_device_negotiate(device, VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)),
            "the device does not start");
    REQUIRE(virtqueue_start(&queue, false), "no queue");
    virtio_device_ready(device);
    uint8_t *now = heap_take(2 * BUFFER_SIZE, 8), before[BUFFER_SIZE] = {0};
    uint32_t total = 0;
    for (unsigned i = 0; i < READS; i++) {
        memset(now, 0, 2 * BUFFER_SIZE);
        uint32_t length = rng_read(&queue, now, BUFFER_SIZE);
        REQUIRE(length > 0 && length <= BUFFER_SIZE, "%u bytes of %u", length, BUFFER_SIZE);
        REQUIRE(bytes_are(now + BUFFER_SIZE, 0, BUFFER_SIZE), "written beyond the buffer");
        /* Of fewer bytes, zeroes or a repetition are no proof. */
        REQUIRE(length < 8 || !bytes_are(now, 0, length), "only zeroes");
        REQUIRE(length < 8 || memcmp(now, before, length) != 0, "the same bytes again");
        memcpy(before, now, BUFFER_SIZE);
        total += length;
    }
    return test_passed("bytes=%u", total);
}

static const struct test tests[] = {
    {"rng", rng},
};

const struct test_suite test_suite_rng = TEST_SUITE(tests);
