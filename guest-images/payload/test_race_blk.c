/* A second CPU changes descriptors and headers of a disk's requests while the device reads them. */
#include "bad_driver.h"
#include "heap.h"
#include "smp.h"
#include "string.h"
#include "timing.h"

/* Enough of both outcomes; TIMEOUT_CYCLES bound the time on a busy host. */
#define SERVED_ENOUGH 100u
#define RESETS_ENOUGH 10u
#define PAGE 4096
#define GUARD 0xa5

static struct vring_desc *volatile descriptors;
static struct blk_frame *volatile frame;
static uint8_t *volatile data;
static volatile bool race_over;
static volatile uint32_t changes;

static void scribble(uint64_t cpu)
{
    (void)cpu;
    for (uint32_t i = 0; !race_over; i++) {
        volatile struct vring_desc *middle = &descriptors[1];
        volatile struct virtio_blk_outhdr *header = &frame->header;
        header->sector = i % 3 ? 0 : UINT64_MAX - i;
        header->type = i % 5 ? VIRTIO_BLK_T_IN : i;
        middle->addr = i % 7 ? (uintptr_t)data : 1ull << 45;
        middle->len = i % 11 ? SECTOR_SIZE : UINT32_MAX;
        middle->flags = (uint16_t)(VRING_DESC_F_NEXT | (i % 13 ? VRING_DESC_F_WRITE : 0));
        middle->next = (uint16_t)(i % 17 ? 2 : 1);
        changes = i;
    }
}

/* Offers chain 0; true if it came back, false if the device needs a reset instead. */
static bool chain_offer(struct blk *blk)
{
    struct virtqueue *queue = &blk->queues[0];
    uint16_t before = queue->used->idx;
    /* On a host with few processors the other CPU stands still most of the time. */
    for (uint32_t seen = changes; changes == seen;)
        cpu_relax();
    queue->available->ring[queue->next_available++ % queue->size] = 0;
    virtqueue_kick(queue);
    for (uint64_t start = rdtsc(); __atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE) == before;)
        if (virtio_needs_reset(blk->device) || timed_out(start))
            return false;
    return true;
}

static void chain_fill(const struct blk *blk)
{
    const uint16_t next = VRING_DESC_F_NEXT;
    struct vring_desc *queue = blk->queues[0].descriptors;
    queue[0] = (struct vring_desc){(uintptr_t)&frame->header, sizeof(frame->header), next, 1};
    queue[1] = (struct vring_desc){(uintptr_t)data, SECTOR_SIZE, next | VRING_DESC_F_WRITE, 2};
    queue[2] = (struct vring_desc){(uintptr_t)&frame->status, 1, VRING_DESC_F_WRITE, 0};
}

/* Each request is served or refused as one of those that it ever was, or the device needs a reset;
 * nothing is written beside the buffer. */
static enum verdict race_blk(void)
{
    struct blk blk;
    unsigned served = 0, resets = 0;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    uint8_t *pages = heap_take(3 * PAGE, PAGE);
    memset(pages, GUARD, 3 * PAGE);
    data = pages + PAGE;
    frame = blk.frame;
    descriptors = blk.queues[0].descriptors;
    chain_fill(&blk);
    race_over = false;
    smp_start(scribble);
    uint64_t start = rdtsc();
    while (smp_arrived() == 0)
        REQUIRE(!timed_out(start), "no second CPU");
    while ((served < SERVED_ENOUGH || resets < RESETS_ENOUGH) && !timed_out(start)) {
        if (chain_offer(&blk)) {
            served++;
            continue;
        }
        REQUIRE(virtio_needs_reset(blk.device), "a request is lost after %u", served);
        resets++;
        REQUIRE(blk_restart(&blk, false), "it does not start again");
        chain_fill(&blk);
    }
    race_over = true;
    REQUIRE(bytes_are(pages, GUARD, PAGE) &&
                bytes_are(data + SECTOR_SIZE, GUARD, 2 * PAGE - SECTOR_SIZE),
            "something else was written");
    REQUIRE(served > 0 && resets > 0, "served %u, resets %u, changes %u: it was no race", served,
            resets, changes);
    REQUIRE_PASSED(bad_driver_works_again(&blk));
    return test_passed("served=%u resets=%u", served, resets);
}

static const struct test tests[] = {
    {"race-blk", race_blk},
};

const struct test_suite test_suite_race_blk = TEST_SUITE(tests);
