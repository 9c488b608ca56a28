/* virtio-blk with a correct driver. The writing tests destroy the disk's content. */
#include "cmdline.h"
#include "heap.h"
#include "interrupts.h"
#include "random.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtio_blk.h"

#define BUFFER_SIZE 65536
#define ID_LENGTH VIRTIO_BLK_ID_BYTES

static enum verdict blk_open_for_write(struct blk *blk)
{
    REQUIRE(blk_open(blk), "no disk, or it does not start");
    if (blk_has(blk, VIRTIO_BLK_F_RO))
        return test_skipped("the disk is read-only");
    REQUIRE(blk->capacity_sectors * SECTOR_SIZE >= 4 * BUFFER_SIZE, "the disk is too small");
    return VERDICT_PASSED;
}

static enum verdict blk_id(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    char id[ID_LENGTH + 1] = {0};
    struct segment data = {id, ID_LENGTH, VRING_DESC_F_WRITE};
    unsigned status = blk_request(&blk, VIRTIO_BLK_T_GET_ID, 0, &data, 1);
    REQUIRE(status == VIRTIO_BLK_S_OK, "status %x", status);
    return test_passed("id=%s", id);
}

static enum verdict blk_capacity(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    uint64_t expected = cmdline_number("capacity", blk.capacity_sectors * SECTOR_SIZE);
    REQUIRE(blk.capacity_sectors * SECTOR_SIZE == expected, "sectors=%lu", blk.capacity_sectors);
    uint8_t *buffer = heap_take(SECTOR_SIZE, SECTOR_SIZE);
    unsigned status = blk_read(&blk, blk.capacity_sectors - 1, buffer, SECTOR_SIZE);
    REQUIRE(status == VIRTIO_BLK_S_OK, "reading the last sector: status %x", status);
    return test_passed("sectors=%lu segments=%u queues=%u features=%lx", blk.capacity_sectors,
                       blk.segments_max, blk.queue_count, blk.device->features);
}

static enum verdict write_and_compare(struct blk *blk, uint64_t sector, uint32_t length)
{
    static uint64_t random = RANDOM_SEED;
    uint8_t *written = heap_take(length, 4096), *read = heap_take(length, 4096);
    random_fill(&random, written, length);
    memset(read, 0, length);
    unsigned status = blk_write(blk, sector, written, length);
    REQUIRE(status == VIRTIO_BLK_S_OK, "write at %lu: status %x", sector, status);
    REQUIRE(blk->used_length == 1, "a write returned %u bytes", blk->used_length);
    status = blk_read(blk, sector, read, length);
    REQUIRE(status == VIRTIO_BLK_S_OK, "read at %lu: status %x", sector, status);
    REQUIRE(blk->used_length == length + 1, "a read of %u returned %u", length, blk->used_length);
    REQUIRE(memcmp(written, read, length) == 0, "at sector %lu, %u bytes differ", sector, length);
    return VERDICT_PASSED;
}

static enum verdict blk_pattern(void)
{
    struct blk blk;
    REQUIRE_PASSED(blk_open_for_write(&blk));
    static const uint32_t lengths[] = {512, 1536, 4096, BUFFER_SIZE};
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint64_t last = blk.capacity_sectors - lengths[i] / SECTOR_SIZE;
        REQUIRE_PASSED(write_and_compare(&blk, 0, lengths[i]));
        REQUIRE_PASSED(write_and_compare(&blk, last / 2 + 1, lengths[i]));
        REQUIRE_PASSED(write_and_compare(&blk, last, lengths[i]));
    }
    return VERDICT_PASSED;
}

/* A request with segments that are not multiples of a sector. */
static enum verdict odd_segments(struct blk *blk, enum chain_form form)
{
    static const uint32_t lengths[] = {1, 511, 512, 3, 4093, 1000, 24};
    enum { COUNT = sizeof(lengths) / sizeof(lengths[0]), TOTAL = 6144 };
    uint64_t random = RANDOM_SEED;
    uint8_t *written = heap_take(TOTAL, 8), *read = heap_take(2 * TOTAL, 8);
    struct segment out[COUNT], in[COUNT];
    random_fill(&random, written, TOTAL);
    memset(read, 0, 2 * TOTAL);
    REQUIRE(blk->segments_max >= COUNT, "the device takes only %u segments", blk->segments_max);
    blk->form = form;
    for (uint32_t i = 0, offset = 0; i < COUNT; offset += lengths[i++]) {
        out[i] = (struct segment){written + offset, lengths[i], 0};
        /* Scattered, with a byte that must stay as it is after each. */
        in[i] = (struct segment){read + offset + i, lengths[i], VRING_DESC_F_WRITE};
    }
    unsigned status = blk_request(blk, VIRTIO_BLK_T_OUT, 8, out, COUNT);
    REQUIRE(status == VIRTIO_BLK_S_OK, "write: status %x", status);
    status = blk_request(blk, VIRTIO_BLK_T_IN, 8, in, COUNT);
    REQUIRE(status == VIRTIO_BLK_S_OK, "read: status %x", status);
    for (uint32_t i = 0, offset = 0; i < COUNT; offset += lengths[i++]) {
        REQUIRE(memcmp(written + offset, in[i].address, lengths[i]) == 0, "segment %u differs", i);
        REQUIRE(((uint8_t *)in[i].address)[lengths[i]] == 0, "written after segment %u", i);
    }
    return VERDICT_PASSED;
}

static enum verdict blk_multiseg(void)
{
    struct blk blk;
    REQUIRE_PASSED(blk_open_for_write(&blk));
    if (!blk_has(&blk, VIRTIO_BLK_F_SEG_MAX))
        return test_skipped("SEG_MAX is not negotiated");
    return odd_segments(&blk, CHAIN_DIRECT);
}

static enum verdict blk_indirect(void)
{
    struct blk blk;
    REQUIRE_PASSED(blk_open_for_write(&blk));
    if (!blk_has(&blk, VIRTIO_RING_F_INDIRECT_DESC) || !blk_has(&blk, VIRTIO_BLK_F_SEG_MAX))
        return test_skipped("INDIRECT_DESC or SEG_MAX is not negotiated");
    return odd_segments(&blk, CHAIN_INDIRECT);
}

/* "The device MUST NOT make assumptions about the particular arrangement of descriptors" (2.7.4.1):
 * the header in one byte per descriptor. */
static enum verdict blk_split_header(void)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    uint8_t *expected = heap_take(SECTOR_SIZE, 8), *read = heap_take(SECTOR_SIZE, 8);
    unsigned status = blk_read(&blk, 1, expected, SECTOR_SIZE);
    REQUIRE(status == VIRTIO_BLK_S_OK, "plain read: status %x", status);
    struct segment segments[sizeof(struct virtio_blk_outhdr) + 2];
    unsigned count = 0;
    blk.frame->header = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_IN, .sector = 1};
    blk.frame->status = BLK_STATUS_NONE;
    for (; count < sizeof(struct virtio_blk_outhdr); count++)
        segments[count] = (struct segment){(uint8_t *)&blk.frame->header + count, 1, 0};
    segments[count++] = (struct segment){read, SECTOR_SIZE, VRING_DESC_F_WRITE};
    segments[count++] = (struct segment){&blk.frame->status, 1, VRING_DESC_F_WRITE};
    REQUIRE(virtqueue_add(&blk.queues[0], segments, count, CHAIN_DIRECT) >= 0, "no room");
    virtqueue_kick(&blk.queues[0]);
    struct completion completion;
    for (uint64_t start = rdtsc(); !virtqueue_reap(&blk.queues[0], &completion);)
        REQUIRE(!timed_out(start), "timed out");
    REQUIRE(blk.frame->status == VIRTIO_BLK_S_OK, "status %x", blk.frame->status);
    REQUIRE(memcmp(expected, read, SECTOR_SIZE) == 0, "the data differ");
    return VERDICT_PASSED;
}

static enum verdict blk_flush_test(void)
{
    struct blk blk;
    REQUIRE_PASSED(blk_open_for_write(&blk));
    if (!blk_has(&blk, VIRTIO_BLK_F_FLUSH))
        return test_skipped("FLUSH is not negotiated");
    REQUIRE_PASSED(write_and_compare(&blk, 0, 4096));
    unsigned status = blk_flush(&blk);
    REQUIRE(status == VIRTIO_BLK_S_OK, "status %x", status);
    return VERDICT_PASSED;
}

static unsigned range_request(struct blk *blk, uint32_t type, uint64_t sector, uint32_t sectors,
                              uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes range = {sector, sectors, flags};
    struct segment data = {&range, sizeof(range), 0};
    return blk_request(blk, type, 0, &data, 1);
}

static enum verdict blk_discard(void)
{
    struct blk blk;
    REQUIRE_PASSED(blk_open_for_write(&blk));
    if (!blk_has(&blk, VIRTIO_BLK_F_DISCARD))
        return test_skipped("DISCARD is not negotiated");
    unsigned status = range_request(&blk, VIRTIO_BLK_T_DISCARD, 0, 128, 0);
    REQUIRE(status == VIRTIO_BLK_S_OK, "status %x", status);
    REQUIRE_PASSED(write_and_compare(&blk, 0, BUFFER_SIZE));
    return VERDICT_PASSED;
}

static enum verdict blk_write_zeroes(void)
{
    struct blk blk;
    REQUIRE_PASSED(blk_open_for_write(&blk));
    if (!blk_has(&blk, VIRTIO_BLK_F_WRITE_ZEROES))
        return test_skipped("WRITE_ZEROES is not negotiated");
    uint8_t *read = heap_take(BUFFER_SIZE, 4096);
    for (uint32_t flags = 0; flags <= VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP; flags++) {
        REQUIRE_PASSED(write_and_compare(&blk, 0, BUFFER_SIZE));
        unsigned status = range_request(&blk, VIRTIO_BLK_T_WRITE_ZEROES, 1, 126, flags);
        REQUIRE(status == VIRTIO_BLK_S_OK, "flags %x: status %x", flags, status);
        status = blk_read(&blk, 0, read, BUFFER_SIZE);
        REQUIRE(status == VIRTIO_BLK_S_OK, "read: status %x", status);
        REQUIRE(bytes_are(read + SECTOR_SIZE, 0, BUFFER_SIZE - 2 * SECTOR_SIZE), "not zero");
        REQUIRE(!bytes_are(read, 0, SECTOR_SIZE), "zero before the range");
        REQUIRE(!bytes_are(read + BUFFER_SIZE - SECTOR_SIZE, 0, SECTOR_SIZE),
                "zero after the range");
    }
    return VERDICT_PASSED;
}

/* As many requests at once as the ring holds, on every queue. */
static enum verdict blk_queues(void)
{
    struct blk blk;
    REQUIRE_PASSED(blk_open_for_write(&blk));
    uint64_t random = RANDOM_SEED;
    uint8_t *written = heap_take(BUFFER_SIZE, 4096), *read = heap_take(BUFFER_SIZE, 4096);
    struct blk_frame *frames = heap_take(VIRTQUEUE_SIZE_MAX * sizeof(*frames), 64);
    random_fill(&random, written, BUFFER_SIZE);
    REQUIRE(blk_write(&blk, 0, written, BUFFER_SIZE) == VIRTIO_BLK_S_OK, "write failed");
    for (unsigned q = 0; q < blk.queue_count; q++) {
        struct virtqueue *queue = &blk.queues[q];
        memset(read, 0, BUFFER_SIZE);
        unsigned added = 0, reaped = 0;
        for (; added < BUFFER_SIZE / SECTOR_SIZE; added++) {
            struct segment data = {read + added * SECTOR_SIZE, SECTOR_SIZE, VRING_DESC_F_WRITE};
            if (blk_add(&blk, queue, &frames[added], VIRTIO_BLK_T_IN, added, &data, 1) < 0)
                break;
        }
        virtqueue_kick(queue);
        struct completion completion;
        for (uint64_t start = rdtsc(); reaped < added;) {
            reaped += virtqueue_reap(queue, &completion);
            REQUIRE(!timed_out(start), "queue %u: %u of %u completed", q, reaped, added);
        }
        for (unsigned i = 0; i < added; i++)
            REQUIRE(frames[i].status == VIRTIO_BLK_S_OK, "status %x", frames[i].status);
        REQUIRE(memcmp(written, read, added * SECTOR_SIZE) == 0, "queue %u: the data differ", q);
    }
    return test_passed("queues=%u size=%u", blk.queue_count, blk.queues[0].size);
}

static const struct test tests[] = {
    {"blk-id", blk_id},
    {"blk-capacity", blk_capacity},
    {"blk-pattern", blk_pattern},
    {"blk-multiseg", blk_multiseg},
    {"blk-indirect", blk_indirect},
    {"blk-split-header", blk_split_header},
    {"blk-flush", blk_flush_test},
    {"blk-discard", blk_discard},
    {"blk-write-zeroes", blk_write_zeroes},
    {"blk-queues", blk_queues},
};

const struct test_suite test_suite_blk = TEST_SUITE(tests);
