/*
 * Requests that a block device refuses (virtio 1.2, 5.2.6), on a writable disk of less than 2 TiB
 * that takes one range in a DISCARD or WRITE_ZEROES. This is the only list of them. It is used by
 * - the unit tests of the data plane in C,
 * - the tests with a fake driver and each I/O engine (test/support/hostile-requests.ts),
 * - the bare-metal payload under KVM.
 *
 * The request fails with its status, the disk is not changed, no data reach the driver, and the
 * device goes on.
 */
#ifndef TSVM_TEST_HOSTILE_BLOCK_H
#define TSVM_TEST_HOSTILE_BLOCK_H

#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>

#define HOSTILE_BLOCK_DATA_MAX 1024u

enum hostile_block_base {
    HOSTILE_DISK_START,
    HOSTILE_DISK_END, /* the first sector after the disk */
};

struct hostile_block_request {
    const char *id; /* the name of the payload's test */
    uint32_t type;
    uint8_t status;
    enum hostile_block_base base; /* what the sector is relative to */
    uint64_t sector;              /* wraps */
    uint32_t data_bytes;
    bool writable;         /* the data are device-writable */
    bool has_range;        /* the sector is in the data: struct virtio_blk_discard_write_zeroes */
    uint32_t range_length; /* sectors */
    uint32_t range_flags;
};

#define HOSTILE_TRANSFER(name, where, first, bytes)                                                \
    {.id = "blk-bad-read-" name,                                                                   \
     .type = VIRTIO_BLK_T_IN,                                                                      \
     .status = VIRTIO_BLK_S_IOERR,                                                                 \
     .base = where,                                                                                \
     .sector = first,                                                                              \
     .data_bytes = bytes,                                                                          \
     .writable = true},                                                                            \
    {                                                                                              \
        .id = "blk-bad-write-" name, .type = VIRTIO_BLK_T_OUT, .status = VIRTIO_BLK_S_IOERR,       \
        .base = where, .sector = first, .data_bytes = bytes                                        \
    }

#define HOSTILE_TYPE(name, number)                                                                 \
    {.id = "blk-bad-type-" name, .type = number, .status = VIRTIO_BLK_S_UNSUPP},                   \
    {                                                                                              \
        .id = "blk-bad-type-" name "-with-data", .type = number, .status = VIRTIO_BLK_S_UNSUPP,    \
        .data_bytes = 512, .writable = true                                                        \
    }

#define HOSTILE_RANGE(name, request_type, answer, where, first, length, flags)                     \
    {                                                                                              \
        .id = name, .type = request_type, .status = answer, .base = where, .sector = first,        \
        .data_bytes = sizeof(struct virtio_blk_discard_write_zeroes), .has_range = true,           \
        .range_length = length, .range_flags = flags                                               \
    }

#define HOSTILE_RANGES(name, where, first, length)                                                 \
    HOSTILE_RANGE("blk-bad-discard-" name, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR, where, first, \
                  length, 0),                                                                      \
        HOSTILE_RANGE("blk-bad-zeroes-" name, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_IOERR,       \
                      where, first, length, 0)

#define HOSTILE_RANGE_BYTES(name, bytes)                                                           \
    {.id = "blk-bad-discard-" name,                                                                \
     .type = VIRTIO_BLK_T_DISCARD,                                                                 \
     .status = VIRTIO_BLK_S_IOERR,                                                                 \
     .data_bytes = bytes},                                                                         \
    {                                                                                              \
        .id = "blk-bad-zeroes-" name, .type = VIRTIO_BLK_T_WRITE_ZEROES,                           \
        .status = VIRTIO_BLK_S_IOERR, .data_bytes = bytes                                          \
    }

static const struct hostile_block_request hostile_block_requests[] = {
    /* Past the end, and where the byte offset or the end is beyond 64 bits. */
    HOSTILE_TRANSFER("end", HOSTILE_DISK_END, 0, 512),
    HOSTILE_TRANSFER("across-end", HOSTILE_DISK_END, -1ull, 1024),
    HOSTILE_TRANSFER("sector-2-32", HOSTILE_DISK_START, 1ull << 32, 512),
    HOSTILE_TRANSFER("offset-2-63", HOSTILE_DISK_START, INT64_MAX / 512, 1024),
    HOSTILE_TRANSFER("offset-2-64", HOSTILE_DISK_START, 1ull << 55, 512),
    HOSTILE_TRANSFER("end-2-64", HOSTILE_DISK_START, (1ull << 55) - 1, 1024),
    HOSTILE_TRANSFER("sector-2-63", HOSTILE_DISK_START, 1ull << 63, 512),
    HOSTILE_TRANSFER("sector-max", HOSTILE_DISK_START, UINT64_MAX, 512),
    HOSTILE_TRANSFER("sector-wraps", HOSTILE_DISK_START, UINT64_MAX, 1024),
    /* Parts of sectors. */
    HOSTILE_TRANSFER("1-byte", HOSTILE_DISK_START, 0, 1),
    HOSTILE_TRANSFER("511-bytes", HOSTILE_DISK_START, 0, 511),
    HOSTILE_TRANSFER("513-bytes", HOSTILE_DISK_START, 0, 513),
    HOSTILE_TRANSFER("1000-bytes", HOSTILE_DISK_START, 0, 1000),

    HOSTILE_TYPE("2", 2),
    HOSTILE_TYPE("3", 3),
    HOSTILE_TYPE("5", 5),
    HOSTILE_TYPE("7", 7),
    HOSTILE_TYPE("9", 9),
    HOSTILE_TYPE("10", 10),
    HOSTILE_TYPE("12", 12),
    HOSTILE_TYPE("14", 14),
    HOSTILE_TYPE("high-bit", 0x80000000),
    HOSTILE_TYPE("max", UINT32_MAX),

    HOSTILE_RANGES("end", HOSTILE_DISK_END, 0, 1),
    HOSTILE_RANGES("across-end", HOSTILE_DISK_END, -1ull, 2),
    HOSTILE_RANGES("long", HOSTILE_DISK_START, 0, UINT32_MAX),
    HOSTILE_RANGES("offset-2-64", HOSTILE_DISK_START, 1ull << 55, 1),
    HOSTILE_RANGES("sector-2-63", HOSTILE_DISK_START, 1ull << 63, 1),
    HOSTILE_RANGES("sector-wraps", HOSTILE_DISK_START, UINT64_MAX, 8),
    HOSTILE_RANGE_BYTES("empty", 0),
    HOSTILE_RANGE_BYTES("15-bytes", 15),
    HOSTILE_RANGE_BYTES("17-bytes", 17),
    HOSTILE_RANGE_BYTES("two-ranges", 32),
    /* "The device MUST set the status byte to VIRTIO_BLK_S_UNSUPP for discard [...] if the unmap
     * flag is set", and for flags that do not exist (5.2.6.2). */
    HOSTILE_RANGE("blk-bad-discard-unmap", VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_UNSUPP,
                  HOSTILE_DISK_START, 0, 1, 1),
    HOSTILE_RANGE("blk-bad-discard-flag", VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_UNSUPP,
                  HOSTILE_DISK_START, 0, 1, 0x80000000),
    HOSTILE_RANGE("blk-bad-zeroes-flag", VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_UNSUPP,
                  HOSTILE_DISK_START, 0, 1, 2),
};

#define HOSTILE_BLOCK_REQUEST_COUNT                                                                \
    (sizeof hostile_block_requests / sizeof hostile_block_requests[0])

static inline uint64_t hostile_block_sector(const struct hostile_block_request *request,
                                            uint64_t capacity)
{
    return (request->base == HOSTILE_DISK_END ? capacity : 0) + request->sector;
}

#endif
