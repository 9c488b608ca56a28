/* Random reads on as many queues as there are CPUs, a queue each: qd= requests of bs= bytes at a
 * time, count= on each queue, cpus= CPUs, all of which poll. Works once in a boot. */
#include "cmdline.h"
#include "heap.h"
#include "layout.h"
#include "random.h"
#include "smp.h"
#include "test.h"
#include "timing.h"
#include "virtio_blk.h"

#define DEPTH_MAX 64
#define COUNT_DEFAULT 10000
/* Requests; rare enough to cost nothing. */
#define REGISTER_READ_PERIOD 256

struct lane {
    struct blk_frame *frames;
    uint8_t *buffers;
    bool failed;
};

static struct blk blk;
static struct lane lanes[BLK_QUEUES_MAX];
static uint32_t block_bytes, started, finished;
static unsigned depth;
static uint64_t count_each, blocks;

/* False: a request failed, or none was completed for long. */
static bool lane_run(unsigned index)
{
    struct lane *lane = &lanes[index];
    struct virtqueue *queue = &blk.queues[index];
    unsigned slot_of_head[VIRTQUEUE_SIZE_MAX], free_slots[DEPTH_MAX], free_count = 0;
    uint64_t random = RANDOM_SEED + index, submitted = 0, completed = 0, progress = rdtsc();
    while (free_count < depth) {
        free_slots[free_count] = free_count;
        free_count++;
    }
    while (completed < count_each) {
        unsigned added = 0;
        for (; free_count != 0 && submitted < count_each; submitted++, added++) {
            unsigned slot = free_slots[--free_count];
            struct segment data = {lane->buffers + (size_t)slot * block_bytes, block_bytes,
                                   VRING_DESC_F_WRITE};
            uint64_t sector = random_next(&random) % blocks * block_bytes / SECTOR_SIZE;
            int head = blk_add(&blk, queue, &lane->frames[slot], VIRTIO_BLK_T_IN, sector, &data, 1);
            if (head < 0)
                return false;
            slot_of_head[head] = slot;
        }
        /* Where programs run natively and kernels do not (kvm-pvm), a waiting loop begins a native
         * run, and an access to a register ends it: kicks are then as fast as a kernel's. */
        if (submitted % REGISTER_READ_PERIOD < added)
            virtio_read(blk.device, VIRTIO_MMIO_INTERRUPT_STATUS);
        if (added != 0)
            virtqueue_kick(queue);
        struct completion completion;
        while (virtqueue_reap(queue, &completion)) {
            unsigned slot = slot_of_head[completion.head];
            if (lane->frames[slot].status != VIRTIO_BLK_S_OK)
                return false;
            free_slots[free_count++] = slot;
            completed++;
            progress = rdtsc();
        }
        if (timed_out(progress))
            return false;
        cpu_relax();
    }
    return true;
}

static void work(uint64_t cpu)
{
    while (!__atomic_load_n(&started, __ATOMIC_ACQUIRE))
        cpu_relax();
    lanes[cpu].failed = !lane_run((unsigned)cpu);
    __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

static void lane_prepare(struct lane *lane)
{
    size_t bytes = (size_t)depth * block_bytes;
    lane->frames = heap_take(depth * sizeof(*lane->frames), 64);
    lane->buffers = heap_take(bytes, 4096);
    /* The first access to a page is a fault in the host, which must not be measured. */
    for (size_t i = 0; i < bytes; i += 4096)
        lane->buffers[i] = 1;
}

static enum verdict blk_queues(void)
{
    unsigned cpus = (unsigned)cmdline_number("cpus", 1);
    block_bytes = (uint32_t)cmdline_number("bs", 4096);
    depth = (unsigned)cmdline_number("qd", 1);
    count_each = cmdline_number("count", COUNT_DEFAULT);
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    REQUIRE(cpus >= 1 && cpus <= blk.queue_count, "%u CPUs and %u queues", cpus, blk.queue_count);
    REQUIRE(depth >= 1 && depth <= DEPTH_MAX, "qd= is not in 1..%u", DEPTH_MAX);
    REQUIRE(block_bytes >= SECTOR_SIZE && block_bytes % SECTOR_SIZE == 0,
            "bs= is not a multiple of a sector");
    blocks = blk.capacity_sectors * SECTOR_SIZE / block_bytes;
    REQUIRE(blocks != 0, "the disk is smaller than a block");
    for (unsigned i = 0; i < cpus; i++)
        lane_prepare(&lanes[i]);
    if (cpus > 1)
        smp_start(work);
    for (uint64_t start = rdtsc(); smp_arrived() < cpus - 1;)
        REQUIRE(!timed_out(start), "%u of %u CPUs came", smp_arrived() + 1, cpus);
    uint64_t start = rdtsc();
    __atomic_store_n(&started, 1, __ATOMIC_RELEASE);
    work(0);
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < cpus)
        cpu_relax();
    uint64_t cycles = rdtsc() - start;
    for (unsigned i = 0; i < cpus; i++)
        REQUIRE(!lanes[i].failed, "queue %u: a request failed or timed out", i);
    return test_passed("cpus=%u bs=%u qd=%u requests=%lu cycles=%lu", cpus, block_bytes, depth,
                       count_each * cpus, cycles);
}

static const struct test benches[] = {
    {"blk-queues", blk_queues},
};

const struct test_suite bench_suite_blk_queues = TEST_SUITE(benches);
