/* Random reads on several queues: qd= requests of bs= bytes at a time, count= on each queue. Either
 * each of cpus= CPUs polls a queue of its own, or, with wait=interrupt, one CPU drives all of the
 * queues= and sleeps where there is nothing to do. Works once in a boot. */
#include "cmdline.h"
#include "device_interrupt.h"
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

/* A queue, and the requests on it. */
struct lane {
    struct virtqueue *queue;
    struct blk_frame *frames;
    uint8_t *buffers;
    unsigned slot_of_head[VIRTQUEUE_SIZE_MAX], free_slots[DEPTH_MAX], free_count;
    uint64_t random, submitted, completed, progress;
    bool failed;
};

static struct blk blk;
static struct lane lanes[BLK_QUEUES_MAX];
static uint32_t block_bytes, started, finished;
static unsigned depth;
static uint64_t count_each, blocks;

/* Returns how many requests were added. */
static unsigned lane_submit(struct lane *lane)
{
    unsigned added = 0;
    for (; lane->free_count != 0 && lane->submitted < count_each; lane->submitted++, added++) {
        unsigned slot = lane->free_slots[--lane->free_count];
        struct segment data = {lane->buffers + (size_t)slot * block_bytes, block_bytes,
                               VRING_DESC_F_WRITE};
        uint64_t sector = random_next(&lane->random) % blocks * block_bytes / SECTOR_SIZE;
        int head =
            blk_add(&blk, lane->queue, &lane->frames[slot], VIRTIO_BLK_T_IN, sector, &data, 1);
        if (head < 0) {
            lane->failed = true;
            break;
        }
        lane->slot_of_head[head] = slot;
    }
    return added;
}

/* Returns how many requests were completed. It is a failure if there were none for long. */
static unsigned lane_reap(struct lane *lane)
{
    struct completion completion;
    unsigned done = 0;
    for (; virtqueue_reap(lane->queue, &completion); done++) {
        unsigned slot = lane->slot_of_head[completion.head];
        if (lane->frames[slot].status != VIRTIO_BLK_S_OK)
            lane->failed = true;
        lane->free_slots[lane->free_count++] = slot;
        lane->progress = rdtsc();
    }
    lane->completed += done;
    if (timed_out(lane->progress))
        lane->failed = true;
    return done;
}

static bool lane_is_done(const struct lane *lane)
{
    return lane->failed || lane->completed >= count_each;
}

static void lane_poll(struct lane *lane)
{
    for (lane->progress = rdtsc(); !lane_is_done(lane); cpu_relax()) {
        unsigned added = lane_submit(lane);
        /* Where programs run natively and kernels do not (kvm-pvm), a waiting loop begins a native
         * run, and an access to a register ends it: kicks are then as fast as a kernel's. */
        if (lane->submitted % REGISTER_READ_PERIOD < added)
            virtio_read(blk.device, VIRTIO_MMIO_INTERRUPT_STATUS);
        if (added != 0)
            virtqueue_kick(lane->queue);
        lane_reap(lane);
    }
}

/* One turn of all queues. Returns how many requests were completed. */
static unsigned lanes_turn(unsigned count)
{
    unsigned done = 0;
    for (unsigned i = 0; i < count; i++) {
        if (lane_submit(&lanes[i]) != 0)
            virtqueue_kick(lanes[i].queue);
        /* Either the new used index is seen here, or the device interrupts. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        done += lane_reap(&lanes[i]);
    }
    return done;
}

static bool lanes_are_done(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!lane_is_done(&lanes[i]))
            return false;
    return true;
}

static void lanes_sleep(unsigned count)
{
    device_interrupt_enable(blk.device);
    for (unsigned i = 0; i < count; i++)
        lanes[i].progress = rdtsc();
    for (;;) {
        uint32_t interrupts = device_interrupt_count;
        unsigned done = lanes_turn(count);
        if (lanes_are_done(count))
            break;
        if (done == 0) {
            device_interrupt_wait(interrupts);
            device_interrupt_acknowledge(blk.device);
        }
    }
    device_interrupt_disable(blk.device);
}

static void work(uint64_t cpu)
{
    while (!__atomic_load_n(&started, __ATOMIC_ACQUIRE))
        cpu_relax();
    lane_poll(&lanes[cpu]);
    __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

/* Starts the other CPUs, which wait for lanes_poll(). */
static enum verdict cpus_start(unsigned cpus)
{
    if (cpus > 1)
        smp_start(work);
    for (uint64_t start = rdtsc(); smp_arrived() < cpus - 1;)
        REQUIRE(!timed_out(start), "%u of %u CPUs came", smp_arrived() + 1, cpus);
    return VERDICT_PASSED;
}

static void lanes_poll(unsigned cpus)
{
    __atomic_store_n(&started, 1, __ATOMIC_RELEASE);
    work(0);
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < cpus)
        cpu_relax();
}

static void lane_prepare(struct lane *lane, struct virtqueue *queue)
{
    size_t bytes = (size_t)depth * block_bytes;
    *lane = (struct lane){.queue = queue, .random = RANDOM_SEED + queue->index};
    lane->frames = heap_take(depth * sizeof(*lane->frames), 64);
    lane->buffers = heap_take(bytes, 4096);
    for (; lane->free_count < depth; lane->free_count++)
        lane->free_slots[lane->free_count] = lane->free_count;
    /* The first access to a page is a fault in the host, which must not be measured. */
    for (size_t i = 0; i < bytes; i += 4096)
        lane->buffers[i] = 1;
}

static enum verdict blk_queues(void)
{
    bool sleeps = cmdline_list_has("wait", "interrupt");
    unsigned queues = (unsigned)cmdline_number(sleeps ? "queues" : "cpus", 1);
    block_bytes = (uint32_t)cmdline_number("bs", 4096);
    depth = (unsigned)cmdline_number("qd", 1);
    count_each = cmdline_number("count", COUNT_DEFAULT);
    REQUIRE(blk_open(&blk), "no disk, or it does not start");
    REQUIRE(queues >= 1 && queues <= blk.queue_count, "%u of %u queues", queues, blk.queue_count);
    REQUIRE(depth >= 1 && depth <= DEPTH_MAX, "qd= is not in 1..%u", DEPTH_MAX);
    REQUIRE(block_bytes >= SECTOR_SIZE && block_bytes % SECTOR_SIZE == 0,
            "bs= is not a multiple of a sector");
    blocks = blk.capacity_sectors * SECTOR_SIZE / block_bytes;
    REQUIRE(blocks != 0, "the disk is smaller than a block");
    for (unsigned i = 0; i < queues; i++)
        lane_prepare(&lanes[i], &blk.queues[i]);
    if (sleeps)
        REQUIRE(blk_restart(&blk, true), "the disk does not start again");
    else
        REQUIRE_PASSED(cpus_start(queues));
    uint64_t start = rdtsc();
    if (sleeps)
        lanes_sleep(queues);
    else
        lanes_poll(queues);
    uint64_t cycles = rdtsc() - start;
    for (unsigned i = 0; i < queues; i++)
        REQUIRE(!lanes[i].failed, "queue %u: a request failed or timed out", i);
    return test_passed("queues=%u bs=%u qd=%u requests=%lu cycles=%lu", queues, block_bytes, depth,
                       count_each * queues, cycles);
}

static const struct test benches[] = {
    {"blk-queues", blk_queues},
};

const struct test_suite bench_suite_blk_queues = TEST_SUITE(benches);
