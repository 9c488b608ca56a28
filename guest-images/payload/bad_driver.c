#include "bad_driver.h"

#include "cmdline.h"
#include "heap.h"
#include "timing.h"

/* Much longer than a device takes, and short enough for dozens of tests that fail. */
#define NEEDS_RESET_CYCLES (TIMEOUT_CYCLES / 8)

enum verdict bad_driver_works_again(struct blk *blk)
{
    REQUIRE(blk_restart(blk, false), "it does not start again");
    uint8_t *buffer = heap_take(SECTOR_SIZE, SECTOR_SIZE);
    unsigned status = blk_read(blk, 0, buffer, SECTOR_SIZE);
    REQUIRE(status == VIRTIO_BLK_S_OK, "a read after a reset: status %x", status);
    return VERDICT_PASSED;
}

enum verdict bad_driver_needs_reset(struct blk *blk)
{
    struct text unused;
    bool lenient = cmdline_find("lenient", 0, &unused);
    for (uint64_t start = rdtsc(); !lenient && !virtio_needs_reset(blk->device);)
        REQUIRE(rdtsc() - start < NEEDS_RESET_CYCLES, "no DEVICE_NEEDS_RESET");
    /* "If DRIVER_OK is set, after it sets DEVICE_NEEDS_RESET, the device MUST send a device
     * configuration change notification" (2.1.2). */
    REQUIRE(lenient ||
                (virtio_read(blk->device, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG),
            "no configuration change notification");
    return bad_driver_works_again(blk);
}

enum verdict bad_driver_gets_answer(struct blk *blk)
{
    volatile uint16_t *used = &blk->queues[0].used->idx;
    for (uint64_t start = rdtsc(); *used == 0 && !virtio_needs_reset(blk->device);)
        REQUIRE(rdtsc() - start < NEEDS_RESET_CYCLES, "the chain is kept");
    return bad_driver_works_again(blk);
}

enum verdict bad_driver_misplaces(struct blk *blk, uint32_t size, const uint64_t parts[3])
{
    const struct virtio_device *device = blk->device;
    REQUIRE(virtio_device_negotiate(blk->device, BLK_FEATURES), "it refuses to start");
    virtio_write(device, VIRTIO_MMIO_QUEUE_SEL, 0);
    virtio_write(device, VIRTIO_MMIO_QUEUE_NUM, size);
    virtio_write64(device, VIRTIO_MMIO_QUEUE_DESC_LOW, parts[0]);
    virtio_write64(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, parts[1]);
    virtio_write64(device, VIRTIO_MMIO_QUEUE_USED_LOW, parts[2]);
    virtio_write(device, VIRTIO_MMIO_QUEUE_READY, 1);
    bool ready = virtio_read(device, VIRTIO_MMIO_QUEUE_READY) == 1;
    virtio_device_ready(device);
    virtqueue_notify(&blk->queues[0]);
    return ready ? bad_driver_needs_reset(blk) : bad_driver_works_again(blk);
}
