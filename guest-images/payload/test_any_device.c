/* Each kind of device with hostile rings, placements and registers; and all of them at once, of
 * which one is attacked. */
#include "../../test/vectors/hostile_rings.h"
#include "any_device.h"
#include "boot_info.h"
#include "heap.h"

#define DEVICES_MAX 16
#define REGISTERS_END 0x200

static struct hostile_layout layout_of(const struct any_device *any, void *buffer)
{
    return (struct hostile_layout){
        .buffer = (uintptr_t)buffer,
        .table = (uintptr_t)any->queue.indirect_tables,
        .queue = (uintptr_t)any->queue.descriptors,
        .ram_end = ram_end(),
        .size = any->queue.size,
    };
}

/* Offers a hostile ring to a device that was just started. */
static void ring_offer(struct any_device *any, const struct hostile_ring *ring, void *buffer)
{
    struct virtqueue *queue = &any->queue;
    struct hostile_layout layout = layout_of(any, buffer);
    hostile_ring_write(&layout, ring, queue->descriptors, queue->indirect_tables, queue->available);
    queue->next_available = hostile_available(&layout, ring);
    virtqueue_kick(queue);
}

static enum verdict ring_try(struct any_device *any, const struct hostile_ring *ring, void *buffer)
{
    uint64_t unwanted = ring->without_indirect ? VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) : 0;
    REQUIRE(any_device_start(any, unwanted), "it does not start before %s", ring->id);
    ring_offer(any, ring, buffer);
    if (any_device_needs_reset(any) != VERDICT_PASSED)
        return test_failed("%s: no DEVICE_NEEDS_RESET, or no notification", ring->id);
    return any_device_works_again(any);
}

static enum verdict placement_try(struct any_device *any, const struct hostile_placement *placement,
                                  void *buffer)
{
    struct virtqueue *queue = &any->queue;
    const struct virtio_device *device = any->device;
    struct hostile_layout layout = layout_of(any, buffer);
    uint64_t parts[] = {(uintptr_t)queue->descriptors, (uintptr_t)queue->available,
                        (uintptr_t)queue->used};
    hostile_placement_apply(placement, &layout, parts);
    REQUIRE(virtio_device_negotiate(any->device, any->kind->features), "it does not start");
    virtio_write(device, VIRTIO_MMIO_QUEUE_SEL, queue->index);
    virtio_write(device, VIRTIO_MMIO_QUEUE_NUM, queue->size);
    virtio_write64(device, VIRTIO_MMIO_QUEUE_DESC_LOW, parts[0]);
    virtio_write64(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, parts[1]);
    virtio_write64(device, VIRTIO_MMIO_QUEUE_USED_LOW, parts[2]);
    virtio_write(device, VIRTIO_MMIO_QUEUE_READY, 1);
    virtio_device_ready(device);
    virtqueue_notify(queue);
    if (any_device_needs_reset(any) != VERDICT_PASSED)
        return test_failed("%s: no DEVICE_NEEDS_RESET, or no notification", placement->id);
    return any_device_works_again(any);
}

static enum verdict rings_run(size_t index)
{
    struct any_device any;
    if (!any_device_find(&any, &device_kinds[index], 0))
        return test_skipped("no such device");
    void *buffer = heap_take(4096, 4096);
    REQUIRE(any_device_start(&any, 0), "it does not start");
    for (size_t i = 0; i < HOSTILE_RING_COUNT; i++)
        REQUIRE_PASSED(ring_try(&any, &hostile_rings[i], buffer));
    for (size_t i = 0; i < HOSTILE_PLACEMENT_COUNT; i++)
        REQUIRE_PASSED(placement_try(&any, &hostile_placements[i], buffer));
    return test_passed("rings=%lu placements=%lu", HOSTILE_RING_COUNT, HOSTILE_PLACEMENT_COUNT);
}

/* Accesses of each width at each offset, also across the ends of registers. */
static void registers_access(const struct virtio_device *device)
{
    for (uintptr_t offset = 0; offset < REGISTERS_END; offset++) {
        uintptr_t address = device->base + offset;
        (void)*(volatile uint8_t *)address;
        (void)*(volatile uint16_t *)address;
        (void)*(volatile uint32_t *)address;
        (void)*(volatile uint64_t *)address;
        *(volatile uint8_t *)address = 0xff;
        *(volatile uint16_t *)address = 0xffff;
        *(volatile uint64_t *)address = UINT64_MAX;
    }
}

/* All registers with the same value, of a device in use. */
static void registers_fill(const struct virtio_device *device, uint32_t value)
{
    for (uint32_t offset = 0; offset < REGISTERS_END; offset += 4)
        virtio_write(device, offset, value);
}

/* DRIVER_OK without FEATURES_OK, then a kick; and features that were not offered (3.1.1). */
static enum verdict status_skip(struct any_device *any)
{
    uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    REQUIRE(virtio_device_reset(any->device), "no reset");
    virtio_write(any->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
    virtqueue_notify(&any->queue);
    REQUIRE_PASSED(any_device_works_again(any));
    REQUIRE(virtio_device_reset(any->device), "no reset");
    virtio_write(any->device, VIRTIO_MMIO_STATUS, status);
    virtio_features_write(any->device, UINT64_MAX);
    virtio_write(any->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_FEATURES_OK);
    REQUIRE(!(virtio_read(any->device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK),
            "all features accepted");
    return any_device_works_again(any);
}

static enum verdict queue_range(struct any_device *any)
{
    static const uint32_t numbers[] = {1000, 0xffff, 0x10000, 0xffffffff};
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (numbers[i] > virtio_queue_register_max(any->device))
            continue;
        virtio_write(any->device, VIRTIO_MMIO_QUEUE_SEL, numbers[i]);
        uint32_t size = virtio_read(any->device, VIRTIO_MMIO_QUEUE_NUM_MAX);
        REQUIRE(size == 0, "queue %x has a size of %u", numbers[i], size);
        virtio_write(any->device, VIRTIO_MMIO_QUEUE_READY, 1);
        virtio_write(any->device, VIRTIO_MMIO_QUEUE_NOTIFY, numbers[i]);
    }
    return any_device_works_again(any);
}

static enum verdict registers_run(size_t index)
{
    static const uint32_t values[] = {0xffffffff, 0x80000000, 1, 0};
    struct any_device any;
    if (!any_device_find(&any, &device_kinds[index], 0))
        return test_skipped("no such device");
    REQUIRE(any_device_start(&any, 0), "it does not start");
    registers_access(any.device);
    REQUIRE_PASSED(any_device_works_again(&any));
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        registers_fill(any.device, values[i]);
        REQUIRE_PASSED(any_device_works_again(&any));
    }
    REQUIRE_PASSED(status_skip(&any));
    return queue_range(&any);
}

/* Starts all devices. Then breaks one after the other: the others need no reset and go on. */
static enum verdict isolation(void)
{
    static struct any_device all[DEVICES_MAX];
    void *buffer = heap_take(4096, 4096);
    unsigned count = 0;
    for (unsigned kind = 0; kind < DEVICE_KINDS; kind++)
        for (unsigned n = 0; count < DEVICES_MAX; n++, count++)
            if (!any_device_find(&all[count], &device_kinds[kind], n))
                break;
    if (count < 2)
        return test_skipped("only %u devices", count);
    for (unsigned i = 0; i < count; i++)
        REQUIRE(any_device_start(&all[i], 0), "%s: does not start", all[i].kind->name);
    for (unsigned broken = 0; broken < count; broken++) {
        /* The vectors are for a queue that has not been used. */
        REQUIRE(any_device_start(&all[broken], 0), "%s: does not start", all[broken].kind->name);
        ring_offer(&all[broken], &hostile_rings[0], buffer);
        REQUIRE_PASSED(any_device_needs_reset(&all[broken]));
        for (unsigned i = 0; i < count; i++)
            if (i != broken)
                REQUIRE_PASSED(any_device_serves(&all[i]));
        REQUIRE_PASSED(any_device_works_again(&all[broken]));
    }
    return test_passed("devices=%u", count);
}

#define NAMES(prefix)                                                                              \
    {                                                                                              \
        prefix "net", prefix "blk", prefix "console", prefix "rng", prefix "balloon",              \
            prefix "vsock"                                                                         \
    }

static const char *rings_name(size_t index)
{
    static const char *const names[DEVICE_KINDS] = NAMES("bad-rings-");
    return names[index];
}

static const char *registers_name(size_t index)
{
    static const char *const names[DEVICE_KINDS] = NAMES("bad-registers-");
    return names[index];
}

static const struct test isolation_tests[] = {
    {"bad-isolation", isolation},
};

const struct test_suite test_suite_bad_device_rings = {
    .count = DEVICE_KINDS, .name_of = rings_name, .run_entry = rings_run};
const struct test_suite test_suite_bad_device_registers = {
    .count = DEVICE_KINDS, .name_of = registers_name, .run_entry = registers_run};
const struct test_suite test_suite_isolation = TEST_SUITE(isolation_tests);
