/*
 * Virtqueues whose driver violates the specification (virtio 1.2, 2.7). This is the only list of
 * them. It is used by
 * - the unit tests of the C virtqueue,
 * - the tests of each device with a fake driver (test/support/hostile-rings.ts),
 * - the bare-metal payload under KVM.
 *
 * A device answers each of them with DEVICE_NEEDS_RESET and a configuration change notification
 * (2.1.2), serves nothing from then on, and works again after a reset. No entry depends on the type
 * of the device.
 */
#ifndef TSVM_TEST_HOSTILE_RINGS_H
#define TSVM_TEST_HOSTILE_RINGS_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

/* What an address in a descriptor is relative to. */
enum hostile_base {
    HOSTILE_BUFFER,  /* 4 KiB of RAM for buffers */
    HOSTILE_TABLE,   /* the indirect table */
    HOSTILE_QUEUE,   /* the descriptor table of the queue */
    HOSTILE_RAM_END, /* the end (exclusive) of RAM, followed by an address without any */
    HOSTILE_ZERO,    /* guest-physical address 0: the offset is the address */
};

/* An index: n entries after the last one of the queue. */
#define HOSTILE_SIZE_PLUS(n) (0x10000u + (n))

#define HOSTILE_DESCRIPTORS 3

struct hostile_descriptor {
    enum hostile_base base;
    uint64_t offset; /* negative offsets wrap */
    uint32_t length; /* bytes */
    uint16_t flags;
    uint32_t next;
};

struct hostile_ring {
    const char *id; /* the name of the payload's test */
    const char *name;
    /* A word of the reason that the C virtqueue gives. */
    const char *reason;
    /* The first descriptors of the queue and of the indirect table. */
    struct hostile_descriptor queue[HOSTILE_DESCRIPTORS], table[HOSTILE_DESCRIPTORS];
    /* The only available chain. */
    uint32_t head;
    /* How far the available index is advanced; 0 means 1, as is right for one chain. */
    uint32_t available;
    /* The driver does not accept VIRTIO_F_INDIRECT_DESC. */
    bool without_indirect;
};

#define HOSTILE_N VRING_DESC_F_NEXT
#define HOSTILE_W VRING_DESC_F_WRITE
#define HOSTILE_I VRING_DESC_F_INDIRECT
/* Well-formed descriptors, which the entries below combine with one that is not. */
#define HOSTILE_GOOD_READABLE(next)                                                                \
    {                                                                                              \
        HOSTILE_BUFFER, 0, 16, HOSTILE_N, next                                                     \
    }
#define HOSTILE_GOOD_WRITABLE(next)                                                                \
    {                                                                                              \
        HOSTILE_BUFFER, 512, 512, HOSTILE_N | HOSTILE_W, next                                      \
    }
#define HOSTILE_LAST_WRITABLE                                                                      \
    {                                                                                              \
        HOSTILE_BUFFER, 1024, 1, HOSTILE_W, 0                                                      \
    }
#define HOSTILE_GOOD_TABLE(count)                                                                  \
    {                                                                                              \
        {                                                                                          \
            HOSTILE_TABLE, 0, (count)*16, HOSTILE_I, 0                                             \
        }                                                                                          \
    }

static const struct hostile_ring hostile_rings[] = {
    {"bad-readable-loop", "a loop", "loops",
     .queue = {HOSTILE_GOOD_READABLE(1), HOSTILE_GOOD_READABLE(0)}},
    {"bad-loop", "a loop of writable buffers", "loops",
     .queue = {HOSTILE_GOOD_READABLE(1), HOSTILE_GOOD_WRITABLE(2), HOSTILE_GOOD_WRITABLE(1)}},
    {"bad-self-loop", "a descriptor that is its own next", "loops",
     .queue = {HOSTILE_GOOD_READABLE(0)}},
    {"bad-empty-loop", "a loop of empty buffers", "loops",
     .queue = {{HOSTILE_BUFFER, 0, 0, HOSTILE_N, 0}}},
    {"bad-next-range", "next is the queue size", "next",
     .queue = {HOSTILE_GOOD_READABLE(HOSTILE_SIZE_PLUS(0))}},
    {"bad-next-far", "next is 0xffff", "next", .queue = {HOSTILE_GOOD_READABLE(0xffff)}},
    {"bad-head-range", "the head is the queue size", "head", .head = HOSTILE_SIZE_PLUS(0)},
    {"bad-head-half", "the head is 0x7fff", "head", .head = 0x7fff},
    {"bad-head-far", "the head is 0xffff", "head", .head = 0xffff},
    {"bad-avail-ahead", "the available index is one too far ahead", "further ahead",
     .available = HOSTILE_SIZE_PLUS(1)},
    {"bad-avail-half", "the available index is 0x8000 ahead", "further ahead", .available = 0x8000},
    {"bad-avail-far", "the available index is 0xffff ahead", "further ahead", .available = 0xffff},
    {"bad-order", "readable after writable", "readable",
     .queue = {HOSTILE_GOOD_WRITABLE(1), {HOSTILE_BUFFER, 0, 16, 0, 0}}},
    {"bad-order-empty", "an empty readable buffer after a writable one", "readable",
     .queue = {HOSTILE_GOOD_WRITABLE(1), {HOSTILE_BUFFER, 0, 0, 0, 0}}},

    {"bad-header-across-end", "a buffer across the end of RAM", "not in guest memory",
     .queue = {{HOSTILE_RAM_END, -1ull, 2, 0, 0}}},
    {"bad-data-across-end", "a writable buffer across the end of RAM", "not in guest memory",
     .queue = {HOSTILE_GOOD_READABLE(1), {HOSTILE_RAM_END, -256ull, 512, HOSTILE_W, 0}}},
    {"bad-header-after-end", "a buffer after the end of RAM", "not in guest memory",
     .queue = {{HOSTILE_RAM_END, 0, 1, 0, 0}}},
    {"bad-data-outside", "a writable buffer at 2^45", "not in guest memory",
     .queue = {HOSTILE_GOOD_READABLE(1),
               {HOSTILE_ZERO, 1ull << 45, 512, HOSTILE_N | HOSTILE_W, 2},
               HOSTILE_LAST_WRITABLE}},
    {"bad-header-outside", "a buffer at 2^45", "not in guest memory",
     .queue = {{HOSTILE_ZERO, 1ull << 45, 16, 0, 0}}},
    {"bad-header-high", "a buffer at 2^63", "not in guest memory",
     .queue = {{HOSTILE_ZERO, 1ull << 63, 16, 0, 0}}},
    {"bad-last-byte", "the last byte of the address space", "not in guest memory",
     .queue = {{HOSTILE_ZERO, UINT64_MAX, 1, HOSTILE_W, 0}}},
    {"bad-header-wraps", "a buffer that wraps around the address space", "not in guest memory",
     .queue = {{HOSTILE_ZERO, UINT64_MAX, 2, 0, 0}}},
    {"bad-data-wraps", "a writable buffer that wraps around into RAM", "not in guest memory",
     .queue = {{HOSTILE_ZERO, UINT64_MAX - 0xfffe, 0x200000, HOSTILE_W, 0}}},
    {"bad-data-huge", "a buffer of 4 GiB less one byte", "not in guest memory",
     .queue = {{HOSTILE_RAM_END, -1ull, UINT32_MAX, HOSTILE_W, 0}}},
    {"bad-lengths-overflow", "the sum of lengths is beyond 32 bits", "4 GiB",
     .queue = {HOSTILE_GOOD_READABLE(1), {HOSTILE_BUFFER, 0, UINT32_MAX, HOSTILE_W, 0}}},

    {"bad-indirect-unnegotiated", "an indirect table, not negotiated", "negotiated",
     .queue = HOSTILE_GOOD_TABLE(1), .table = {HOSTILE_LAST_WRITABLE}, .without_indirect = true},
    {"bad-indirect-empty", "an indirect table of 0 bytes", "length",
     .queue = {{HOSTILE_TABLE, 0, 0, HOSTILE_I, 0}}},
    {"bad-indirect-byte", "an indirect table of 1 byte", "length",
     .queue = {{HOSTILE_TABLE, 0, 1, HOSTILE_I, 0}}},
    {"bad-indirect-short", "an indirect table of 15 bytes", "length",
     .queue = {{HOSTILE_TABLE, 0, 15, HOSTILE_I, 0}}},
    {"bad-indirect-length", "an indirect table of 17 bytes", "length",
     .queue = {{HOSTILE_TABLE, 0, 17, HOSTILE_I, 0}}},
    {"bad-indirect-length-max", "an indirect table of 4 GiB less one byte", "length",
     .queue = {{HOSTILE_TABLE, 0, UINT32_MAX, HOSTILE_I, 0}}},
    {"bad-indirect-huge", "an indirect table of 4 GiB less one entry", "not in guest memory",
     .queue = {{HOSTILE_TABLE, 0, UINT32_MAX - 15, HOSTILE_I, 0}}},
    {"bad-indirect-across-end", "an indirect table across the end of RAM", "not in guest memory",
     .queue = {{HOSTILE_RAM_END, -16ull, 32, HOSTILE_I, 0}}},
    {"bad-indirect-outside", "an indirect table at 2^45", "not in guest memory",
     .queue = {{HOSTILE_ZERO, 1ull << 45, 16, HOSTILE_I, 0}}},
    {"bad-indirect-and-next", "an indirect descriptor with a next one", "next",
     .queue = {{HOSTILE_TABLE, 0, 16, HOSTILE_I | HOSTILE_N, 1}, HOSTILE_LAST_WRITABLE},
     .table = {HOSTILE_LAST_WRITABLE}},
    {"bad-indirect-nested", "an indirect table in an indirect table", "nested",
     .queue = HOSTILE_GOOD_TABLE(2),
     .table = {HOSTILE_GOOD_READABLE(1), {HOSTILE_TABLE, 0, 16, HOSTILE_I, 0}}},
    {"bad-indirect-self", "an indirect table that contains itself", "nested",
     .queue = {{HOSTILE_QUEUE, 0, 16, HOSTILE_I, 0}}},
    {"bad-indirect-next", "the last entry of an indirect table has a next one", "next",
     .queue = HOSTILE_GOOD_TABLE(2),
     .table = {HOSTILE_GOOD_READABLE(1), HOSTILE_GOOD_WRITABLE(2), HOSTILE_LAST_WRITABLE}},
    {"bad-indirect-next-far", "next in an indirect table is 0xffff", "next",
     .queue = HOSTILE_GOOD_TABLE(1), .table = {HOSTILE_GOOD_READABLE(0xffff)}},
    {"bad-indirect-loop", "a loop in an indirect table", "loops", .queue = HOSTILE_GOOD_TABLE(3),
     .table = {HOSTILE_GOOD_READABLE(1), HOSTILE_GOOD_WRITABLE(2), HOSTILE_GOOD_WRITABLE(1)}},
    {"bad-indirect-order", "readable after writable in an indirect table", "readable",
     .queue = HOSTILE_GOOD_TABLE(2),
     .table = {HOSTILE_GOOD_WRITABLE(1), {HOSTILE_BUFFER, 0, 16, 0, 0}}},
    {"bad-indirect-data-after-end", "a buffer after the end of RAM in an indirect table",
     "not in guest memory", .queue = HOSTILE_GOOD_TABLE(2),
     .table = {HOSTILE_GOOD_READABLE(1), {HOSTILE_RAM_END, 0, 512, HOSTILE_W, 0}}},
};

#define HOSTILE_RING_COUNT (sizeof hostile_rings / sizeof hostile_rings[0])

/* Where a test has its queue and its memory. */
struct hostile_layout {
    uint64_t buffer, table, queue, ram_end;
    uint32_t size; /* of the queue */
};

static inline uint16_t hostile_index(const struct hostile_layout *layout, uint32_t index)
{
    return (uint16_t)(index < HOSTILE_SIZE_PLUS(0) ? index : layout->size + index - 0x10000u);
}

static inline struct vring_desc hostile_descriptor(const struct hostile_layout *layout,
                                                   const struct hostile_descriptor *descriptor)
{
    const uint64_t bases[] = {
        [HOSTILE_BUFFER] = layout->buffer,
        [HOSTILE_TABLE] = layout->table,
        [HOSTILE_QUEUE] = layout->queue,
        [HOSTILE_RAM_END] = layout->ram_end,
        [HOSTILE_ZERO] = 0,
    };
    return (struct vring_desc){
        .addr = bases[descriptor->base] + descriptor->offset,
        .len = descriptor->length,
        .flags = descriptor->flags,
        .next = hostile_index(layout, descriptor->next),
    };
}

/* The value of the available index; it was 0 before. */
static inline uint16_t hostile_available(const struct hostile_layout *layout,
                                         const struct hostile_ring *ring)
{
    return ring->available == 0 ? 1 : hostile_index(layout, ring->available);
}

/*
 * Fills in the queue, whose available index was 0, and the indirect table. The caller then stores
 * hostile_available() in the available index.
 */
static inline void hostile_ring_write(const struct hostile_layout *layout,
                                      const struct hostile_ring *ring,
                                      struct vring_desc *descriptors, struct vring_desc *table,
                                      struct vring_avail *available)
{
    for (unsigned i = 0; i < HOSTILE_DESCRIPTORS; i++) {
        descriptors[i] = hostile_descriptor(layout, &ring->queue[i]);
        table[i] = hostile_descriptor(layout, &ring->table[i]);
    }
    available->ring[0] = hostile_index(layout, ring->head);
}

/* Parts of a queue at addresses that a device must refuse (2.7), when the driver sets DRIVER_OK. */
enum hostile_part {
    HOSTILE_DESCRIPTOR_TABLE,
    HOSTILE_AVAILABLE_RING,
    HOSTILE_USED_RING,
};

enum hostile_place {
    HOSTILE_SHIFTED, /* `value` bytes after its right place */
    HOSTILE_CUT_OFF, /* the first aligned address at which RAM ends before the part does */
    HOSTILE_AT,      /* at the address `value` */
};

struct hostile_placement {
    const char *id; /* the name of the payload's test */
    const char *name;
    enum hostile_part part;
    enum hostile_place place;
    uint64_t value;
};

static const struct hostile_placement hostile_placements[] = {
    {"bad-descriptors-unaligned", "descriptor table: unaligned", HOSTILE_DESCRIPTOR_TABLE,
     HOSTILE_SHIFTED, 8},
    {"bad-descriptors-across-end", "descriptor table: across the end of RAM",
     HOSTILE_DESCRIPTOR_TABLE, HOSTILE_CUT_OFF, 0},
    {"bad-descriptors-outside", "descriptor table: at 2^45", HOSTILE_DESCRIPTOR_TABLE, HOSTILE_AT,
     1ull << 45},
    {"bad-descriptors-high", "descriptor table: at 2^63", HOSTILE_DESCRIPTOR_TABLE, HOSTILE_AT,
     1ull << 63},
    {"bad-descriptors-wrap", "descriptor table: wraps around", HOSTILE_DESCRIPTOR_TABLE, HOSTILE_AT,
     -16ull},
    {"bad-available-unaligned", "available ring: unaligned", HOSTILE_AVAILABLE_RING,
     HOSTILE_SHIFTED, 1},
    {"bad-available-across-end", "available ring: across the end of RAM", HOSTILE_AVAILABLE_RING,
     HOSTILE_CUT_OFF, 0},
    {"bad-available-outside", "available ring: at 2^45", HOSTILE_AVAILABLE_RING, HOSTILE_AT,
     1ull << 45},
    {"bad-available-high", "available ring: at 2^63", HOSTILE_AVAILABLE_RING, HOSTILE_AT,
     1ull << 63},
    {"bad-available-wraps", "available ring: wraps around", HOSTILE_AVAILABLE_RING, HOSTILE_AT,
     -2ull},
    {"bad-used-unaligned", "used ring: unaligned", HOSTILE_USED_RING, HOSTILE_SHIFTED, 2},
    {"bad-used-across-end", "used ring: across the end of RAM", HOSTILE_USED_RING, HOSTILE_CUT_OFF,
     0},
    {"bad-used-outside", "used ring: at 2^45", HOSTILE_USED_RING, HOSTILE_AT, 1ull << 45},
    {"bad-used-high", "used ring: at 2^63", HOSTILE_USED_RING, HOSTILE_AT, 1ull << 63},
    {"bad-used-wraps", "used ring: wraps around", HOSTILE_USED_RING, HOSTILE_AT, -4ull},
};

#define HOSTILE_PLACEMENT_COUNT (sizeof hostile_placements / sizeof hostile_placements[0])

/* Changes one of the three addresses of a queue, in the order of enum hostile_part. */
static inline void hostile_placement_apply(const struct hostile_placement *placement,
                                           const struct hostile_layout *layout,
                                           uint64_t addresses[3])
{
    /* With the event index at the end of each ring (2.7.6, 2.7.8). */
    const uint64_t bytes[] = {layout->size * 16ull, 6 + layout->size * 2ull,
                              6 + layout->size * 8ull};
    const uint64_t alignments[] = {16, 2, 4};
    uint64_t alignment = alignments[placement->part];
    uint64_t last = (layout->ram_end - bytes[placement->part]) & -alignment;
    uint64_t *address = &addresses[placement->part];

    switch (placement->place) {
    case HOSTILE_SHIFTED:
        *address += placement->value;
        break;
    case HOSTILE_CUT_OFF:
        *address = last + alignment;
        break;
    case HOSTILE_AT:
        *address = placement->value;
        break;
    }
}

#endif
