/* The cost of a VM exit: count= equal accesses in a loop. */
#include "cmdline.h"
#include "cpu.h"
#include "test.h"
#include "virtio_blk.h"

#define DEFAULT_PORT 0x80
#define DEFAULT_COUNT 20000

static enum verdict bench_pio_out(void)
{
    uint16_t port = (uint16_t)cmdline_number("port", DEFAULT_PORT);
    uint64_t count = cmdline_number("count", DEFAULT_COUNT), start = rdtsc();
    for (uint64_t i = 0; i < count; i++)
        outb(port, 0);
    return test_passed("port=%x count=%lu cycles=%lu", port, count, rdtsc() - start);
}

static enum verdict bench_pio_in(void)
{
    uint16_t port = (uint16_t)cmdline_number("port", DEFAULT_PORT);
    uint64_t count = cmdline_number("count", DEFAULT_COUNT), start = rdtsc();
    for (uint64_t i = 0; i < count; i++)
        inb(port);
    return test_passed("port=%x count=%lu cycles=%lu", port, count, rdtsc() - start);
}

/* Reads of address=, or of the disk's InterruptStatus, which a driver reads at each interrupt. */
static enum verdict bench_mmio(void)
{
    struct virtio_device *device = virtio_device_by_id(VIRTIO_ID_BLOCK, 0);
    uintptr_t address =
        cmdline_number("address", device ? device->base + VIRTIO_MMIO_INTERRUPT_STATUS : 0);
    REQUIRE(address != 0, "no disk and no address=");
    uint64_t count = cmdline_number("count", DEFAULT_COUNT), start = rdtsc();
    for (uint64_t i = 0; i < count; i++)
        mmio_read32(address);
    return test_passed("address=%p count=%lu cycles=%lu", (void *)address, count, rdtsc() - start);
}

/* Notifications of a queue without new buffers. */
static enum verdict bench_kick(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    uint64_t count = cmdline_number("count", DEFAULT_COUNT), start = rdtsc();
    for (uint64_t i = 0; i < count; i++)
        virtqueue_notify(&blk.queues[0]);
    return test_passed("count=%lu cycles=%lu", count, rdtsc() - start);
}

static const struct test benches[] = {
    {"pio-out", bench_pio_out},
    {"pio-in", bench_pio_in},
    {"mmio", bench_mmio},
    {"kick", bench_kick},
};

const struct test_suite bench_suite_exits = TEST_SUITE(benches);
