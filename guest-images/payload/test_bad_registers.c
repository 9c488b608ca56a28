/* A driver that writes invalid values to registers, or valid ones at the wrong time. */
#include "bad_driver.h"
#include "heap.h"
#include "string.h"
#include "timing.h"

#define REGISTERS_END 0x200
#define RING_OUTSIDE (1ull << 45)

/* Accesses of each width at each offset, also across the ends of registers. */
static enum verdict widths(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    for (uintptr_t offset = 0; offset < REGISTERS_END; offset++) {
        uintptr_t address = blk.device->base + offset;
        (void)*(volatile uint8_t *)address;
        (void)*(volatile uint16_t *)address;
        (void)*(volatile uint32_t *)address;
        (void)*(volatile uint64_t *)address;
        *(volatile uint8_t *)address = 0xff;
        *(volatile uint16_t *)address = 0xffff;
        *(volatile uint64_t *)address = UINT64_MAX;
    }
    return bad_driver_works_again(&blk);
}

static enum verdict garbage(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    static const uint32_t values[] = {0xffffffff, 0x80000000, 1, 0};
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        for (uint32_t offset = 0; offset < REGISTERS_END; offset += 4)
            virtio_write(blk.device, offset, values[i]);
    return bad_driver_works_again(&blk);
}

/* DRIVER_OK without FEATURES_OK, then a kick. */
static enum verdict status_skip(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    REQUIRE(virtio_device_reset(blk.device), "no reset");
    virtio_write(blk.device, VIRTIO_MMIO_STATUS,
                 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK);
    virtqueue_notify(&blk.queues[0]);
    return bad_driver_works_again(&blk);
}

/* "The device MUST NOT set FEATURES_OK" for "any features it did not offer" (2.2.2, 3.1.1). */
static enum verdict unoffered_features(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    REQUIRE(virtio_device_reset(blk.device), "no reset");
    uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    virtio_write(blk.device, VIRTIO_MMIO_STATUS, status);
    virtio_features_write(blk.device, UINT64_MAX);
    virtio_write(blk.device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_FEATURES_OK);
    REQUIRE(!(virtio_read(blk.device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK),
            "all features accepted");
    return bad_driver_works_again(&blk);
}

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

static enum verdict queue_range(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    static const uint32_t numbers[] = {1000, 0xffff, 0x10000, 0xffffffff};
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        virtio_write(blk.device, VIRTIO_MMIO_QUEUE_SEL, numbers[i]);
        uint32_t size = virtio_read(blk.device, VIRTIO_MMIO_QUEUE_NUM_MAX);
        REQUIRE(size == 0, "queue %x has a size of %u", numbers[i], size);
        virtio_write(blk.device, VIRTIO_MMIO_QUEUE_READY, 1);
        virtio_write(blk.device, VIRTIO_MMIO_QUEUE_NOTIFY, numbers[i]);
    }
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
    {"bad-widths", widths},
    {"bad-garbage", garbage},
    {"bad-status-skip", status_skip},
    {"bad-unoffered-features", unoffered_features},
    {"bad-late-queue", late_queue},
    {"bad-queue-range", queue_range},
    {"bad-reset-in-flight", reset_in_flight},
};

const struct test_suite test_suite_bad_registers = TEST_SUITE(tests);
