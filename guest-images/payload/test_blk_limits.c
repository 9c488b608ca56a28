/* Requests that a virtio-blk device refuses with a status byte. */
#include "../../test/vectors/hostile_block.h"
#include "heap.h"
#include "string.h"
#include "test.h"
#include "virtio_blk.h"

static enum verdict refused(struct blk *blk, const char *what, unsigned status, unsigned expected)
{
    REQUIRE(status == expected, "%s: status %x, not %x", what, status, expected);
    /* The device continues to work. */
    static uint8_t buffer[SECTOR_SIZE];
    status = blk_read(blk, 0, buffer, SECTOR_SIZE);
    REQUIRE(status == VIRTIO_BLK_S_OK, "a read after %s: status %x", what, status);
    return VERDICT_PASSED;
}

static const char *request_name(size_t index)
{
    return hostile_block_requests[index].id;
}

/* Each request of the table gets its status, and no data. */
static enum verdict request_run(size_t index)
{
    const struct hostile_block_request *request = &hostile_block_requests[index];
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    if (blk_has(&blk, VIRTIO_BLK_F_RO))
        return test_skipped("the disk is read-only");
    uint8_t *data = heap_take(HOSTILE_BLOCK_DATA_MAX, SECTOR_SIZE);
    uint64_t sector = hostile_block_sector(request, blk.capacity_sectors);
    memset(data, 0, HOSTILE_BLOCK_DATA_MAX);
    if (request->has_range) {
        *(struct virtio_blk_discard_write_zeroes *)data = (struct virtio_blk_discard_write_zeroes){
            sector, request->range_length, request->range_flags};
        sector = 0;
    } else if (request->writable) {
        memset(data, 0xcc, HOSTILE_BLOCK_DATA_MAX);
    }
    struct segment segment = {data, request->data_bytes,
                              request->writable ? VRING_DESC_F_WRITE : 0};
    unsigned status = blk_request(&blk, request->type, sector, &segment, segment.length > 0);
    REQUIRE(!request->writable || bytes_are(data, 0xcc, HOSTILE_BLOCK_DATA_MAX), "data came");
    return refused(&blk, request->id, status, request->status);
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

static const struct test tests[] = {
    {"blk-readonly", blk_readonly},
};

const struct test_suite test_suite_blk_limits = TEST_SUITE(tests);
const struct test_suite test_suite_blk_requests = {
    .count = HOSTILE_BLOCK_REQUEST_COUNT, .name_of = request_name, .run_entry = request_run};
