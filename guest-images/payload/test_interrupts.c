/* Interrupts of a device, through the I/O APIC or by MSI-X. */
#include "cpu.h"
#include "device_interrupt.h"
#include "heap.h"
#include "test.h"
#include "timing.h"
#include "virtio_blk.h"

/* Time in which an unexpected interrupt would arrive. */
#define SETTLE_CYCLES 1000000

static bool interrupts_reach(uint32_t count)
{
    for (uint64_t start = rdtsc(); device_interrupt_count < count; cpu_relax())
        if (timed_out(start))
            return false;
    return true;
}

static bool acknowledged(const struct virtio_device *device)
{
    /* MSI-X needs none. */
    if (device->pci)
        return true;
    bool told = virtio_read(device, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_VRING;
    virtio_write(device, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    return told && virtio_read(device, VIRTIO_MMIO_INTERRUPT_STATUS) == 0;
}

/* Each request causes one interrupt, and none after the acknowledgement. */
static enum verdict blk_interrupt(void)
{
    enum { REQUESTS = 10 };
    struct blk blk;
    REQUIRE(blk_open(&blk) && blk_restart(&blk, true), "no disk, or it does not start");
    const struct virtio_device *device = blk.device;
    device_interrupt_enable(device);
    /* At the end of a mask, MSI-X may send a message in case one was missed. */
    delay_cycles(SETTLE_CYCLES);
    const uint32_t first = device_interrupt_count;
    REQUIRE(first <= (device->pci ? 1 : 0), "%u interrupts before the first request", first);
    struct virtqueue *queue = &blk.queues[0];
    const struct segment data = {heap_take(SECTOR_SIZE, SECTOR_SIZE), SECTOR_SIZE,
                                 VRING_DESC_F_WRITE};
    for (uint32_t i = 1; i <= REQUESTS; i++) {
        REQUIRE(blk_add(&blk, queue, blk.frame, VIRTIO_BLK_T_IN, 0, &data, 1) >= 0, "no room");
        virtqueue_kick(queue);
        /* The interrupt before the look at the ring: a driver that polls takes the request, asks
         * for the interrupt of the next, and need not get this one. */
        REQUIRE(interrupts_reach(first + i), "no interrupt for request %u", i);
        struct completion completion;
        REQUIRE(virtqueue_reap(queue, &completion), "an interrupt, and nothing in the used ring");
        REQUIRE(blk.frame->status == VIRTIO_BLK_S_OK, "status %x", blk.frame->status);
        REQUIRE(acknowledged(device), "InterruptStatus, request %u", i);
    }
    delay_cycles(SETTLE_CYCLES);
    device_interrupt_disable(device);
    REQUIRE(device_interrupt_count == first + REQUESTS, "%u interrupts for %u requests",
            device_interrupt_count - first, REQUESTS);
    return VERDICT_PASSED;
}

static const struct test tests[] = {
    {"blk-interrupt", blk_interrupt},
};

const struct test_suite test_suite_interrupts = TEST_SUITE(tests);
