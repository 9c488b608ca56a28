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

static enum verdict hostile_ring_run(const struct hostile_ring *ring)
{
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

/* Each vector on a device that was reset; the first one that fails is named. */
static enum verdict hostile_rings_run(void)
{
    for (unsigned i = 0; i < HOSTILE_RING_COUNT; i++) {
        void *mark = heap_mark();
        enum verdict verdict = hostile_ring_run(&hostile_rings[i]);
        heap_rewind(mark);
        if (verdict != VERDICT_PASSED) {
            print("hostile ring: %s\n", hostile_rings[i].name);
            return verdict;
        }
    }
    return test_passed("rings=%u", (unsigned)HOSTILE_RING_COUNT);
}

/* The queue does not become ready, or the device needs a reset. */
static enum verdict placement_run(const struct hostile_placement *placement)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    const struct virtqueue *queue = &blk.queues[0];
    struct hostile_layout layout = layout_make(&blk);
    uint64_t parts[] = {(uintptr_t)queue->descriptors, (uintptr_t)queue->available,
                        (uintptr_t)queue->used};
    hostile_placement_apply(placement, &layout, parts);
    return bad_driver_misplaces(&blk, queue->size, parts);
}

static enum verdict placements_run(void)
{
    for (unsigned i = 0; i < HOSTILE_PLACEMENT_COUNT; i++) {
        void *mark = heap_mark();
        enum verdict verdict = placement_run(&hostile_placements[i]);
        heap_rewind(mark);
        if (verdict != VERDICT_PASSED) {
            print("placement: %s\n", hostile_placements[i].name);
            return verdict;
        }
    }
    return test_passed("placements=%u", (unsigned)HOSTILE_PLACEMENT_COUNT);
}

static enum verdict size_run(uint32_t size)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    const struct virtqueue *queue = &blk.queues[0];
    uint64_t parts[] = {(uintptr_t)queue->descriptors, (uintptr_t)queue->available,
                        (uintptr_t)queue->used};
    return bad_driver_misplaces(&blk, size, parts);
}

static enum verdict sizes_run(void)
{
    static const uint32_t sizes[] = {0, 3, 0x8000, 0xffff0004};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        REQUIRE_PASSED(size_run(sizes[i]));
    return VERDICT_PASSED;
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
    {"bad-rings", hostile_rings_run},   {"bad-placements", placements_run},
    {"bad-sizes", sizes_run},           {"bad-no-status", no_status},
    {"bad-short-header", short_header}, {"bad-empty-data", empty_data},
};

const struct test_suite test_suite_bad_rings = TEST_SUITE(tests);
