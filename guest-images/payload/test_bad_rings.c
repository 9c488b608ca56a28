/* Rings that lie: the device says that it needs a reset, and works after one. */
#include "bad_driver.h"
#include "heap.h"

/* Beyond any RAM, and within the address width of any CPU's tables. */
#define ADDRESS_OUTSIDE (1ull << 45)

struct bad_chain {
    struct blk *blk;
    struct vring_desc *descriptors, *table;
    uint16_t head, available_index;
};

static void descriptor_set(struct vring_desc *descriptor, const void *address, uint32_t length,
                           uint16_t flags, uint16_t next)
{
    *descriptor = (struct vring_desc){(uintptr_t)address, length, flags, next};
}

/* A good read request in descriptors 0 to 2, for the tests to spoil. */
static void good_chain(const struct blk *blk, struct vring_desc *descriptors)
{
    blk->frame->header = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_IN};
    descriptor_set(&descriptors[0], &blk->frame->header, sizeof(blk->frame->header),
                   VRING_DESC_F_NEXT, 1);
    descriptor_set(&descriptors[1], heap_take(SECTOR_SIZE, 8), SECTOR_SIZE,
                   VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
    descriptor_set(&descriptors[2], &blk->frame->status, 1, VRING_DESC_F_WRITE, 0);
}

static enum verdict chain_run(void (*spoil)(struct bad_chain *chain), bool indirect,
                              enum verdict (*verify)(struct blk *blk))
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    if (indirect && !blk.queues[0].indirect)
        return test_skipped("INDIRECT_DESC is not negotiated");
    struct virtqueue *queue = &blk.queues[0];
    struct bad_chain chain = {
        .blk = &blk,
        .descriptors = queue->descriptors,
        .table = queue->indirect_tables,
        .available_index = 1,
    };
    good_chain(&blk, indirect ? chain.table : chain.descriptors);
    if (indirect)
        descriptor_set(&chain.descriptors[0], chain.table, 3 * sizeof(struct vring_desc),
                       VRING_DESC_F_INDIRECT, 0);
    spoil(&chain);
    queue->available->ring[0] = chain.head;
    queue->next_available = chain.available_index;
    virtqueue_kick(queue);
    return verify(&blk);
}

#define BAD_CHAIN(name, indirect, ...) CHAIN(name, indirect, bad_driver_needs_reset, __VA_ARGS__)
#define NO_REQUEST(name, ...) CHAIN(name, false, bad_driver_gets_answer, __VA_ARGS__)
#define CHAIN(name, indirect, verify, ...)                                                         \
    static void name##_spoil(struct bad_chain *chain)                                              \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    static enum verdict name(void)                                                                 \
    {                                                                                              \
        return chain_run(name##_spoil, indirect, verify);                                          \
    }

BAD_CHAIN(loop, false, chain->descriptors[2].flags |= VRING_DESC_F_NEXT;
          chain->descriptors[2].next = 1)
BAD_CHAIN(self_loop, false, chain->descriptors[1].next = 1)
BAD_CHAIN(next_range, false, chain->descriptors[1].next = chain->blk->queues[0].size)
BAD_CHAIN(next_far, false, chain->descriptors[1].next = 0xffff)
BAD_CHAIN(head_range, false, chain->head = chain->blk->queues[0].size)
BAD_CHAIN(head_far, false, chain->head = 0xffff)
BAD_CHAIN(avail_ahead, false, chain->available_index = (uint16_t)(chain->blk->queues[0].size + 1))
/* Device-readable after device-writable. */
BAD_CHAIN(order, false, chain->descriptors[2].flags = 0)
NO_REQUEST(no_status, chain->descriptors[0].flags = 0)
NO_REQUEST(short_header, chain->descriptors[0].len = 8)
BAD_CHAIN(data_outside, false, chain->descriptors[1].addr = ADDRESS_OUTSIDE)
BAD_CHAIN(data_wraps, false, chain->descriptors[1].addr = UINT64_MAX - 100)
BAD_CHAIN(header_outside, false, chain->descriptors[0].addr = ADDRESS_OUTSIDE)
BAD_CHAIN(lengths_overflow, false, chain->descriptors[1].len = UINT32_MAX)

BAD_CHAIN(indirect_length, true, chain->descriptors[0].len = 3 * sizeof(struct vring_desc) - 1)
BAD_CHAIN(indirect_empty, true, chain->descriptors[0].len = 0)
BAD_CHAIN(indirect_huge, true, chain->descriptors[0].len = 0xfffffff0)
BAD_CHAIN(indirect_outside, true, chain->descriptors[0].addr = ADDRESS_OUTSIDE)
BAD_CHAIN(indirect_next, true, chain->table[2].flags |= VRING_DESC_F_NEXT; chain->table[2].next = 3)
BAD_CHAIN(indirect_loop, true, chain->table[2].flags |= VRING_DESC_F_NEXT; chain->table[2].next = 1)
/* "A driver MUST NOT set both VIRTQ_DESC_F_INDIRECT and VIRTQ_DESC_F_NEXT" (2.7.5.3.1). */
BAD_CHAIN(indirect_and_next, true, chain->descriptors[0].flags |= VRING_DESC_F_NEXT)
BAD_CHAIN(indirect_nested, true, chain->table[1].flags = VRING_DESC_F_INDIRECT;
          chain->table[1].len = sizeof(struct vring_desc))

/* A zero-length buffer is legal nonsense: whatever the device makes of it, it lives. */
static enum verdict zero_length(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    good_chain(&blk, blk.queues[0].descriptors);
    blk.queues[0].descriptors[1].len = 0;
    blk.queues[0].available->ring[0] = 0;
    blk.queues[0].next_available = 1;
    virtqueue_kick(&blk.queues[0]);
    return bad_driver_works_again(&blk);
}

static const struct test tests[] = {
    {"bad-loop", loop},
    {"bad-self-loop", self_loop},
    {"bad-next-range", next_range},
    {"bad-next-far", next_far},
    {"bad-head-range", head_range},
    {"bad-head-far", head_far},
    {"bad-avail-ahead", avail_ahead},
    {"bad-order", order},
    {"bad-no-status", no_status},
    {"bad-short-header", short_header},
    {"bad-data-outside", data_outside},
    {"bad-data-wraps", data_wraps},
    {"bad-header-outside", header_outside},
    {"bad-lengths-overflow", lengths_overflow},
    {"bad-indirect-length", indirect_length},
    {"bad-indirect-empty", indirect_empty},
    {"bad-indirect-huge", indirect_huge},
    {"bad-indirect-outside", indirect_outside},
    {"bad-indirect-next", indirect_next},
    {"bad-indirect-loop", indirect_loop},
    {"bad-indirect-and-next", indirect_and_next},
    {"bad-indirect-nested", indirect_nested},
    {"bad-zero-length", zero_length},
};

const struct test_suite test_suite_bad_rings = TEST_SUITE(tests);
