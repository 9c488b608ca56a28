/* From a kick to the completion's interrupt: count= requests, one after the other, each a GET_ID,
 * which needs no I/O. wait=interrupt sleeps meanwhile, as an idle guest does; otherwise the CPU
 * stays busy. */
#include "cmdline.h"
#include "device_interrupt.h"
#include "heap.h"
#include "test.h"
#include "timing.h"
#include "virtio_blk.h"

#define COUNT_DEFAULT 5000
/* The first ones, which find cold caches, do not count. */
#define WARM_UP 200
#define ID_BYTES 20

static void sift_down(uint64_t *heap, uint64_t root, uint64_t count)
{
    for (uint64_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && heap[child + 1] > heap[child])
            child++;
        if (heap[root] >= heap[child])
            return;
        uint64_t value = heap[root];
        heap[root] = heap[child];
        heap[child] = value;
    }
}

/* Heap sort. */
static void sort(uint64_t *values, uint64_t count)
{
    for (uint64_t root = count / 2; root-- > 0;)
        sift_down(values, root, count);
    for (uint64_t end = count; end-- > 1;) {
        uint64_t value = values[0];
        values[0] = values[end];
        values[end] = value;
        sift_down(values, 0, end);
    }
}

/* One request; its cycles, or 0 if no interrupt comes. */
static uint64_t request_time(struct blk *blk, struct segment *id, bool sleeps)
{
    struct virtqueue *queue = &blk->queues[0];
    uint32_t seen = device_interrupt_count;
    struct completion completion;
    if (blk_add(blk, queue, blk->frame, VIRTIO_BLK_T_GET_ID, 0, id, 1) < 0)
        return 0;
    uint64_t start = rdtsc();
    virtqueue_kick(queue);
    if (sleeps)
        device_interrupt_wait(seen);
    while (device_interrupt_count == seen) {
        if (timed_out(start))
            return 0;
        cpu_relax();
    }
    uint64_t cycles = device_interrupt_time - start;
    device_interrupt_acknowledge(blk->device);
    return virtqueue_reap(queue, &completion) && blk->frame->status == VIRTIO_BLK_S_OK ? cycles : 0;
}

static enum verdict blk_latency(void)
{
    struct blk blk;
    uint64_t count = cmdline_number("count", COUNT_DEFAULT);
    bool sleeps = cmdline_list_has("wait", "interrupt");
    REQUIRE(count > 0, "count= is 0");
    REQUIRE(blk_open(&blk) && blk_restart(&blk, true), "no disk, or it does not start");
    uint64_t *times = heap_take(count * sizeof(*times), 64);
    struct segment id = {heap_take(ID_BYTES, 64), ID_BYTES, VRING_DESC_F_WRITE};
    device_interrupt_enable(blk.device);
    for (uint64_t i = 0; i < WARM_UP + count; i++) {
        uint64_t cycles = request_time(&blk, &id, sleeps);
        REQUIRE(cycles != 0, "request %lu: no interrupt, or it failed", i);
        if (i >= WARM_UP)
            times[i - WARM_UP] = cycles;
    }
    device_interrupt_disable(blk.device);
    sort(times, count);
    return test_passed("requests=%lu median=%lu p99=%lu", count, times[count / 2],
                       times[count * 99 / 100]);
}

static const struct test benches[] = {
    {"blk-latency", blk_latency},
};

const struct test_suite bench_suite_blk_latency = TEST_SUITE(benches);
