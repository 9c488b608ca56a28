/* Rings that violate the specification, and requests that no device can serve. */
#include "../../test/vectors/hostile_rings.h"

#include "bad_driver.h"
#include "boot_info.h"
#include "heap.h"
#include "serial.h"

/* Where queue 0 is, and memory for buffers. */
static struct hostile_layout layout_make(const struct blk *blk)
{
    const struct virtqueue *queue = &blk->queues[0];
    return (struct hostile_layout){
        .buffer = (uintptr_t)heap_take(4096, 4096),
        .table = (uintptr_t)queue->indirect_tables,
        .queue = (uintptr_t)queue->descriptors,
        .ram_end = ram_end(),
        .size = queue->size,
    };
}

static const char *ring_name(size_t index)
{
    return hostile_rings[index].id;
}

/* The device needs a reset, and works again after one. */
static enum verdict ring_run(size_t index)
{
    const struct hostile_ring *ring = &hostile_rings[index];
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    if (ring->without_indirect)
        REQUIRE(blk_start(&blk, BLK_FEATURES & ~VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC), false),
                "it does not start without INDIRECT_DESC");
    struct virtqueue *queue = &blk.queues[0];
    struct hostile_layout layout = layout_make(&blk);
    hostile_ring_write(&layout, ring, queue->descriptors, queue->indirect_tables, queue->available);
    queue->next_available = hostile_available(&layout, ring);
    virtqueue_kick(queue);
    return bad_driver_needs_reset(&blk);
}

/* The queue does not become ready, or the device needs a reset. */
static enum verdict placement_run(size_t index)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    const struct virtqueue *queue = &blk.queues[0];
    struct hostile_layout layout = layout_make(&blk);
    uint64_t parts[] = {(uintptr_t)queue->descriptors, (uintptr_t)queue->available,
                        (uintptr_t)queue->used};
    hostile_placement_apply(&hostile_placements[index], &layout, parts);
    return bad_driver_misplaces(&blk, queue->size, parts);
}

static const char *placement_name(size_t index)
{
    return hostile_placements[index].id;
}

static enum verdict size_run(uint32_t size)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    if (size > virtio_queue_register_max(blk.device))
        return test_skipped("the register has 16 bits");
    const struct virtqueue *queue = &blk.queues[0];
    uint64_t parts[] = {(uintptr_t)queue->descriptors, (uintptr_t)queue->available,
                        (uintptr_t)queue->used};
    return bad_driver_misplaces(&blk, size, parts);
}

static enum verdict size_zero(void)
{
    return size_run(0);
}

static enum verdict size_odd(void)
{
    return size_run(3);
}

static enum verdict size_large(void)
{
    return size_run(0x8000);
}

static enum verdict size_huge(void)
{
    return size_run(0xffff0004);
}

/* A read of one sector as a chain from descriptor 0 on, with one mistake. */
static enum verdict request_run(void (*spoil)(struct vring_desc *descriptors),
                                enum verdict (*verify)(struct blk *blk))
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    struct virtqueue *queue = &blk.queues[0];
    struct vring_desc *descriptors = queue->descriptors;
    blk.frame->header = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_IN};
    descriptors[0] = (struct vring_desc){(uintptr_t)&blk.frame->header, sizeof(blk.frame->header),
                                         VRING_DESC_F_NEXT, 1};
    descriptors[1] = (struct vring_desc){(uintptr_t)heap_take(SECTOR_SIZE, 8), SECTOR_SIZE,
                                         VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2};
    descriptors[2] = (struct vring_desc){(uintptr_t)&blk.frame->status, 1, VRING_DESC_F_WRITE, 0};
    spoil(descriptors);
    queue->available->ring[0] = 0;
    queue->next_available = 1;
    virtqueue_kick(queue);
    return verify(&blk);
}

static void status_omit(struct vring_desc *descriptors)
{
    descriptors[0].flags = 0;
}

static enum verdict no_status(void)
{
    return request_run(status_omit, bad_driver_gets_answer);
}

static void header_shorten(struct vring_desc *descriptors)
{
    descriptors[0].len = 8;
}

static enum verdict short_header(void)
{
    return request_run(header_shorten, bad_driver_gets_answer);
}

static void data_empty(struct vring_desc *descriptors)
{
    descriptors[1].len = 0;
}

/* The specification allows an empty buffer: any answer will do. */
static enum verdict empty_data(void)
{
    return request_run(data_empty, bad_driver_works_again);
}

static const struct test tests[] = {
    {"bad-size-zero", size_zero},    {"bad-size-odd", size_odd},
    {"bad-size-large", size_large},  {"bad-size-huge", size_huge},
    {"bad-no-status", no_status},    {"bad-short-header", short_header},
    {"bad-zero-length", empty_data},
};

const struct test_suite test_suite_bad_rings = {
    .count = HOSTILE_RING_COUNT, .name_of = ring_name, .run_entry = ring_run};
const struct test_suite test_suite_bad_placements = {
    .count = HOSTILE_PLACEMENT_COUNT, .name_of = placement_name, .run_entry = placement_run};
const struct test_suite test_suite_bad_requests = TEST_SUITE(tests);
