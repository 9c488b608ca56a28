/* virtio-rng. */
#include <linux/virtio_ids.h>

#include "heap.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtqueue.h"

#define BUFFER_SIZE 256
#define READS 8
#define LARGE_PIECE (1u << 20)
#define LARGE_PIECES 4

/* Asks for up to the length; returns what the device says it wrote, 0 if it does not answer. */
static uint32_t rng_read(struct virtqueue *queue, uint8_t *buffer, uint32_t length)
{
    struct segment segment = {buffer, length, VRING_DESC_F_WRITE};
    if (virtqueue_add(queue, &segment, 1, CHAIN_DIRECT) < 0)
        return 0;
    virtqueue_kick(queue);
    struct completion completion;
    for (uint64_t start = rdtsc(); !virtqueue_reap(queue, &completion); cpu_relax())
        if (timed_out(start))
            return 0;
    return completion.length;
}

static enum verdict rng_open(struct virtqueue *queue)
{
    struct virtio_device *device = virtio_device_by_id(VIRTIO_ID_RNG, 0);
    if (!device)
        return test_skipped("no rng device");
    virtqueue_create(queue, device, 0);
    REQUIRE(virtio_device_negotiate(device, VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)),
            "the device does not start");
    REQUIRE(virtqueue_start(queue, false), "no queue");
    virtio_device_ready(device);
    return VERDICT_PASSED;
}

static enum verdict rng(void)
{
    struct virtqueue queue;
    REQUIRE_PASSED(rng_open(&queue));
    uint8_t *now = heap_take(2 * BUFFER_SIZE, 8), before[BUFFER_SIZE] = {0};
    uint32_t total = 0;
    for (unsigned i = 0; i < READS; i++) {
        memset(now, 0, 2 * BUFFER_SIZE);
        uint32_t length = rng_read(&queue, now, BUFFER_SIZE);
        REQUIRE(length > 0 && length <= BUFFER_SIZE, "%u bytes of %u", length, BUFFER_SIZE);
        REQUIRE(bytes_are(now + BUFFER_SIZE, 0, BUFFER_SIZE), "written beyond the buffer");
        /* Of fewer bytes, zeroes or a repetition are no proof. */
        REQUIRE(length < 8 || !bytes_are(now, 0, length), "only zeroes");
        REQUIRE(length < 8 || memcmp(now, before, length) != 0, "the same bytes again");
        memcpy(before, now, BUFFER_SIZE);
        total += length;
    }
    return test_passed("bytes=%u", total);
}

/* 4 MiB in one request, of which the device fills as much as it says; and a buffer to read, which
 * it leaves alone. */
static enum verdict rng_limits(void)
{
    struct virtqueue queue;
    struct segment pieces[LARGE_PIECES];
    struct completion completion;
    REQUIRE_PASSED(rng_open(&queue));
    uint8_t *piece = heap_take(LARGE_PIECE, 8);
    memset(piece, 0xcc, LARGE_PIECE);
    for (unsigned i = 0; i < LARGE_PIECES; i++)
        pieces[i] = (struct segment){piece, LARGE_PIECE, VRING_DESC_F_WRITE};
    REQUIRE(virtqueue_add(&queue, pieces, LARGE_PIECES, CHAIN_DIRECT) >= 0, "no room");
    virtqueue_kick(&queue);
    for (uint64_t start = rdtsc(); !virtqueue_reap(&queue, &completion); cpu_relax())
        REQUIRE(!timed_out(start), "no answer");
    uint32_t filled = completion.length;
    REQUIRE(filled > 0 && filled < LARGE_PIECE, "%u bytes", filled);
    REQUIRE(bytes_are(piece + filled, 0xcc, LARGE_PIECE - filled), "more bytes than it says");
    struct segment readable = {piece, BUFFER_SIZE, 0};
    memset(piece, 0xcc, BUFFER_SIZE);
    REQUIRE(virtqueue_add(&queue, &readable, 1, CHAIN_DIRECT) >= 0, "no room");
    virtqueue_kick(&queue);
    for (uint64_t start = rdtsc(); !virtqueue_reap(&queue, &completion); cpu_relax())
        REQUIRE(!timed_out(start), "no answer");
    REQUIRE(completion.length == 0 && bytes_are(piece, 0xcc, BUFFER_SIZE), "it was written");
    REQUIRE(rng_read(&queue, piece, BUFFER_SIZE) > 0, "no bytes afterwards");
    return test_passed("filled=%u", filled);
}

static const struct test tests[] = {
    {"rng", rng},
    {"rng-limits", rng_limits},
};

const struct test_suite test_suite_rng = TEST_SUITE(tests);
