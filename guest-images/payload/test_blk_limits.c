/* Requests that a virtio-blk device refuses with a status byte. */
#include "heap.h"
#include "string.h"
#include "test.h"
#include "virtio_blk.h"

#define UNKNOWN_TYPE 0x5555
#define UNKNOWN_FLAG 0x80000000

static enum verdict refused(struct blk *blk, const char *what, unsigned status, unsigned expected)
{
    REQUIRE(status == expected, "%s: status %x, not %x", what, status, expected);
    /* The device continues to work. */
    static uint8_t buffer[SECTOR_SIZE];
    status = blk_read(blk, 0, buffer, SECTOR_SIZE);
    REQUIRE(status == VIRTIO_BLK_S_OK, "a read after %s: status %x", what, status);
    return VERDICT_PASSED;
}

static enum verdict blk_range(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    uint8_t *buffer = heap_take(2 * SECTOR_SIZE, SECTOR_SIZE);
    const struct {
        uint64_t sector;
        uint32_t length;
    } reads[] = {
        {blk.capacity_sectors, SECTOR_SIZE},
        {blk.capacity_sectors - 1, 2 * SECTOR_SIZE},
        {UINT64_MAX, SECTOR_SIZE},
        {UINT64_MAX, 2 * SECTOR_SIZE},
        /* The byte offset overflows to 0. */
        {1ull << 55, SECTOR_SIZE},
        {INT64_MAX / SECTOR_SIZE, SECTOR_SIZE},
    };
    for (unsigned i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        unsigned status = blk_read(&blk, reads[i].sector, buffer, reads[i].length);
        REQUIRE_PASSED(refused(&blk, "a read beyond the end", status, VIRTIO_BLK_S_IOERR));
        if (blk_has(&blk, VIRTIO_BLK_F_RO))
            continue;
        status = blk_write(&blk, reads[i].sector, buffer, reads[i].length);
        REQUIRE_PASSED(refused(&blk, "a write beyond the end", status, VIRTIO_BLK_S_IOERR));
    }
    return VERDICT_PASSED;
}

static enum verdict blk_length(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    uint8_t *buffer = heap_take(2 * SECTOR_SIZE, SECTOR_SIZE);
    static const uint32_t lengths[] = {1, SECTOR_SIZE - 1, SECTOR_SIZE + 1};
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        unsigned status = blk_read(&blk, 0, buffer, lengths[i]);
        REQUIRE_PASSED(refused(&blk, "a part of a sector", status, VIRTIO_BLK_S_IOERR));
    }
    return VERDICT_PASSED;
}

static enum verdict blk_unsupported(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    return refused(&blk, "an unknown type", blk_request(&blk, UNKNOWN_TYPE, 0, NULL, 0),
                   VIRTIO_BLK_S_UNSUPP);
}

/* "A device MUST set the status byte to VIRTIO_BLK_S_IOERR for a write request if the
 * VIRTIO_BLK_F_RO feature if offered, and MUST NOT write any data" (5.2.6.2). */
static enum verdict blk_readonly(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    if (!blk_has(&blk, VIRTIO_BLK_F_RO))
        return test_skipped("the disk is writable");
    uint8_t *before = heap_take(SECTOR_SIZE, SECTOR_SIZE), *other = heap_take(SECTOR_SIZE, 8);
    REQUIRE(blk_read(&blk, 0, before, SECTOR_SIZE) == VIRTIO_BLK_S_OK, "cannot read");
    for (unsigned i = 0; i < SECTOR_SIZE; i++)
        other[i] = (uint8_t)~before[i];
    unsigned status = blk_write(&blk, 0, other, SECTOR_SIZE);
    REQUIRE_PASSED(refused(&blk, "a write", status, VIRTIO_BLK_S_IOERR));
    REQUIRE(blk_read(&blk, 0, other, SECTOR_SIZE) == VIRTIO_BLK_S_OK, "cannot read");
    REQUIRE(memcmp(before, other, SECTOR_SIZE) == 0, "the data were written");
    return VERDICT_PASSED;
}

static enum verdict bad_ranges(unsigned feature, uint32_t type, uint32_t bad_flag)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    if (!blk_has(&blk, feature))
        return test_skipped("the feature is not negotiated");
    const struct {
        struct virtio_blk_discard_write_zeroes range;
        unsigned status;
    } requests[] = {
        {{blk.capacity_sectors, 8, 0}, VIRTIO_BLK_S_IOERR},
        {{blk.capacity_sectors - 1, 8, 0}, VIRTIO_BLK_S_IOERR},
        {{UINT64_MAX, 8, 0}, VIRTIO_BLK_S_IOERR},
        {{0, UINT32_MAX, 0}, VIRTIO_BLK_S_IOERR},
        {{0, 8, bad_flag}, VIRTIO_BLK_S_UNSUPP},
    };
    for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct segment data = {(void *)&requests[i].range, sizeof(requests[i].range), 0};
        unsigned status = blk_request(&blk, type, 0, &data, 1);
        REQUIRE(status == requests[i].status, "range %u: status %x, not %x", i, status,
                requests[i].status);
    }
    return VERDICT_PASSED;
}

/* "The device MUST set the status byte to VIRTIO_BLK_S_UNSUPP for discard commands if the unmap
 * flag is set" (5.2.6.2). */
static enum verdict blk_discard_limits(void)
{
    return bad_ranges(VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_T_DISCARD,
                      VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
}

static enum verdict blk_write_zeroes_limits(void)
{
    return bad_ranges(VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_T_WRITE_ZEROES, UNKNOWN_FLAG);
}

static const struct test tests[] = {
    {"blk-range", blk_range},
    {"blk-length", blk_length},
    {"blk-unsupported", blk_unsupported},
    {"blk-readonly", blk_readonly},
    {"blk-limits-discard", blk_discard_limits},
    {"blk-limits-write-zeroes", blk_write_zeroes_limits},
};

const struct test_suite test_suite_blk_limits = TEST_SUITE(tests);
