/* Throughput of a disk: requests of bs= bytes, qd= at a time, count= in all; wait=interrupt sleeps
 * where there is nothing to do, as most guests do, instead of polling. */
#include "cmdline.h"
#include "device_interrupt.h"
#include "heap.h"
#include "random.h"
#include "test.h"
#include "timing.h"
#include "virtio_blk.h"

#define DEPTH_MAX 64

struct workload {
    uint32_t type;
    bool random;
    uint32_t block_size;
    unsigned depth;
    uint64_t count;
    uint64_t blocks;
    bool sleeps;
};

/* The block number of the n-th request. */
static uint64_t block_choose(const struct workload *workload, uint64_t n, uint64_t *random)
{
    return (workload->random ? random_next(random) : n) % workload->blocks;
}

static enum verdict workload_run(struct blk *blk, const struct workload *workload, uint64_t *cycles)
{
    struct virtqueue *queue = &blk->queues[0];
    struct blk_frame *frames = heap_take(VIRTQUEUE_SIZE_MAX * sizeof(*frames), 64);
    /* Each slot has a buffer. The head of a chain identifies its slot. */
    uint8_t *buffers = heap_take((size_t)workload->depth * workload->block_size, 4096);
    unsigned slot_of_head[VIRTQUEUE_SIZE_MAX], free_slots[DEPTH_MAX], free_count = 0;
    uint64_t random = RANDOM_SEED, submitted = 0, completed = 0;
    while (free_count < workload->depth) {
        free_slots[free_count] = free_count;
        free_count++;
    }
    /* The first access to a page is a fault in the host, which must not be measured. */
    for (size_t i = 0; i < (size_t)workload->depth * workload->block_size; i += 4096)
        buffers[i] = 1;
    uint16_t direction = workload->type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;
    uint64_t start = rdtsc(), progress = start;
    while (completed < workload->count) {
        uint32_t interrupts = device_interrupt_count;
        uint64_t completed_before = completed;
        unsigned added = 0;
        for (; free_count != 0 && submitted < workload->count; submitted++, added++) {
            unsigned slot = free_slots[free_count - 1];
            struct segment data = {buffers + (size_t)slot * workload->block_size,
                                   workload->block_size, direction};
            uint64_t sector =
                block_choose(workload, submitted, &random) * workload->block_size / SECTOR_SIZE;
            int head = blk_add(blk, queue, &frames[slot], workload->type, sector, &data, 1);
            if (head < 0)
                break;
            slot_of_head[head] = slot;
            free_count--;
        }
        if (added != 0)
            virtqueue_kick(queue);
        /* Either the new used index is seen here, or the device interrupts. */
        if (workload->sleeps)
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
        struct completion completion;
        while (virtqueue_reap(queue, &completion)) {
            unsigned slot = slot_of_head[completion.head];
            REQUIRE(frames[slot].status == VIRTIO_BLK_S_OK, "status %x", frames[slot].status);
            free_slots[free_count++] = slot;
            completed++;
            progress = rdtsc();
        }
        REQUIRE(!timed_out(progress), "timed out after %lu requests", completed);
        if (!workload->sleeps) {
            cpu_relax();
        } else if (completed == completed_before) {
            device_interrupt_wait(interrupts);
            device_interrupt_acknowledge(blk->device);
        }
    }
    *cycles = rdtsc() - start;
    return VERDICT_PASSED;
}

static enum verdict blk_bench(uint32_t type, bool random, uint32_t default_block_size)
{
    struct blk blk;
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    struct workload workload = {
        .type = type,
        .random = random,
        .block_size = (uint32_t)cmdline_number("bs", default_block_size),
        .depth = (unsigned)cmdline_number("qd", 1),
        .count = cmdline_number("count", 10000),
        .sleeps = cmdline_list_has("wait", "interrupt"),
    };
    REQUIRE(workload.block_size >= SECTOR_SIZE && workload.block_size % SECTOR_SIZE == 0,
            "bs= is not a multiple of a sector");
    REQUIRE(workload.depth >= 1 && workload.depth <= DEPTH_MAX, "qd= is not in 1..%u", DEPTH_MAX);
    workload.blocks = blk.capacity_sectors * SECTOR_SIZE / workload.block_size;
    REQUIRE(workload.blocks != 0, "the disk is smaller than a block");
    if (workload.sleeps) {
        REQUIRE(blk_restart(&blk, true), "the disk does not start again");
        device_interrupt_enable(blk.device);
    }
    uint64_t cycles = 0;
    REQUIRE_PASSED(workload_run(&blk, &workload, &cycles));
    if (workload.sleeps)
        device_interrupt_disable(blk.device);
    return test_passed("bs=%u qd=%u requests=%lu bytes=%lu cycles=%lu", workload.block_size,
                       workload.depth, workload.count, workload.count * workload.block_size,
                       cycles);
}

static enum verdict blk_randread(void)
{
    return blk_bench(VIRTIO_BLK_T_IN, true, 4096);
}

static enum verdict blk_randwrite(void)
{
    return blk_bench(VIRTIO_BLK_T_OUT, true, 4096);
}

static enum verdict blk_seqread(void)
{
    return blk_bench(VIRTIO_BLK_T_IN, false, 131072);
}

static enum verdict blk_seqwrite(void)
{
    return blk_bench(VIRTIO_BLK_T_OUT, false, 131072);
}

static const struct test benches[] = {
    {"blk-randread", blk_randread},
    {"blk-randwrite", blk_randwrite},
    {"blk-seqread", blk_seqread},
    {"blk-seqwrite", blk_seqwrite},
};

const struct test_suite bench_suite_blk = TEST_SUITE(benches);
