/* A driver that sets up queues at the wrong time or place, or resets the device at the wrong time.
 */
#include "bad_driver.h"
#include "heap.h"
#include "string.h"
#include "timing.h"

#define RING_OUTSIDE (1ull << 45)

/* New addresses for a queue in use: the device continues with the old ones, or needs a reset. */
static enum verdict late_queue(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    virtio_write(blk.device, VIRTIO_MMIO_QUEUE_SEL, 0);
    virtio_write(blk.device, VIRTIO_MMIO_QUEUE_NUM, 1);
    virtio_write64(blk.device, VIRTIO_MMIO_QUEUE_DESC_LOW, RING_OUTSIDE);
    virtio_write64(blk.device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, RING_OUTSIDE);
    virtio_write64(blk.device, VIRTIO_MMIO_QUEUE_USED_LOW, RING_OUTSIDE);
    if (!virtio_needs_reset(blk.device)) {
        uint8_t *buffer = heap_take(SECTOR_SIZE, SECTOR_SIZE);
        unsigned status = blk_read(&blk, 0, buffer, SECTOR_SIZE);
        REQUIRE(status == VIRTIO_BLK_S_OK, "status %x", status);
    }
    return bad_driver_works_again(&blk);
}

/* Three parts of a queue at the same place: what the device reads is what it writes. */
static enum verdict overlap(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    REQUIRE(virtio_device_negotiate(blk.device, BLK_FEATURES), "it refuses to start");
    uint8_t *ring = heap_take(4096, 4096);
    memset(ring, 1, 4096);
    virtio_write(blk.device, VIRTIO_MMIO_QUEUE_SEL, 0);
    virtio_write(blk.device, VIRTIO_MMIO_QUEUE_NUM, 16);
    virtio_write64(blk.device, VIRTIO_MMIO_QUEUE_DESC_LOW, (uintptr_t)ring);
    virtio_write64(blk.device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uintptr_t)ring);
    virtio_write64(blk.device, VIRTIO_MMIO_QUEUE_USED_LOW, (uintptr_t)ring);
    virtio_write(blk.device, VIRTIO_MMIO_QUEUE_READY, 1);
    virtio_device_ready(blk.device);
    virtqueue_notify(&blk.queues[0]);
    return bad_driver_works_again(&blk);
}

/* A reset while reads are in flight: after it, the device must not write to rings or buffers. */
static enum verdict reset_in_flight(void)
{
    enum { ROUNDS = 20, DEPTH = 32, LENGTH = 4096, QUIET_CYCLES = 10000000 };
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    struct virtqueue *queue = &blk.queues[0];
    uint8_t *buffers = heap_take(DEPTH * LENGTH, 4096);
    struct blk_frame *frames = heap_take(DEPTH * sizeof(*frames), 64);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < DEPTH; i++) {
            struct segment data = {buffers + i * LENGTH, LENGTH, VRING_DESC_F_WRITE};
            blk_add(&blk, queue, &frames[i], VIRTIO_BLK_T_IN, i, &data, 1);
        }
        virtqueue_kick(queue);
        REQUIRE(virtio_device_reset(blk.device), "no reset in round %u", round);
        memset(buffers, 0xa5, DEPTH * LENGTH);
        memset(queue->used, 0xa5, sizeof(struct vring_used));
        delay_cycles(QUIET_CYCLES);
        REQUIRE(bytes_are(buffers, 0xa5, DEPTH * LENGTH), "data landed in round %u", round);
        REQUIRE(bytes_are(queue->used, 0xa5, sizeof(struct vring_used)), "used ring written");
        REQUIRE(blk_restart(&blk, false), "no restart in round %u", round);
    }
    return bad_driver_works_again(&blk);
}

static const struct test tests[] = {
    {"bad-late-queue", late_queue},
    {"bad-overlap", overlap},
    {"bad-reset-in-flight", reset_in_flight},
};

const struct test_suite test_suite_bad_registers = TEST_SUITE(tests);
