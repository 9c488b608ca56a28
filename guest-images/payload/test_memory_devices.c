/* Devices of memory, by a driver that asks for what it may not have: virtio-mem and virtio-pmem. */
#include <linux/virtio_mem.h>
#include <linux/virtio_pmem.h>

#include "interrupts.h"
#include "paging.h"
#include "random.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtqueue.h"

#define PAGE 4096
/* Few: on an emulated host each takes long. */
#define ROUNDS 60
/* Words from one that is looked at to the next; no power of two. */
#define STRIDE 61

static bool wait_for(struct virtqueue *queue, struct completion *completion)
{
    for (uint64_t start = rdtsc(); !virtqueue_reap(queue, completion); cpu_relax())
        if (timed_out(start))
            return false;
    return true;
}

/* Sends a request and waits for its answer. */
static bool ask(struct virtqueue *queue, void *request, uint32_t length, void *answer,
                uint32_t room)
{
    struct segment segments[] = {{request, length, 0}, {answer, room, VRING_DESC_F_WRITE}};
    struct completion completion;
    if (virtqueue_add(queue, segments, 2, CHAIN_DIRECT) < 0)
        return false;
    virtqueue_kick(queue);
    return wait_for(queue, &completion) && completion.length == room;
}

static bool start(struct virtio_device *device, struct virtqueue *queue)
{
    virtqueue_create(queue, device, 0);
    if (!virtio_device_negotiate(device, 0) || !virtqueue_start(queue, false))
        return false;
    virtio_device_ready(device);
    return true;
}

/* Asks for memory that nobody offers, in every invalid way, and uses some without asking. */
static enum verdict mem(void)
{
    struct virtio_device *device = virtio_device_by_id(VIRTIO_ID_MEM, 0);
    struct virtqueue queue;
    if (!device)
        return test_skipped("no memory device");
    REQUIRE(start(device, &queue), "the device does not start");
    uint64_t block = virtio_config_read64(device, offsetof(struct virtio_mem_config, block_size));
    uint64_t first = virtio_config_read64(device, offsetof(struct virtio_mem_config, addr));
    uint64_t size = virtio_config_read64(device, offsetof(struct virtio_mem_config, region_size));
    uint64_t state = RANDOM_SEED;
    struct virtio_mem_req request;
    struct virtio_mem_resp answer;
    for (unsigned i = 0; i < ROUNDS; i++) {
        random_fill(&state, &request, sizeof request);
        request.type %= 5;
        if (request.type == VIRTIO_MEM_REQ_STATE)
            request.type = VIRTIO_MEM_REQ_UNPLUG_ALL;
        if (i % 2)
            request.u.plug.addr = first + request.u.plug.addr % (2 * size) / 4096 * 4096;
        if (i % 4 == 1)
            request.u.plug.nb_blocks %= size / block;
        REQUIRE(ask(&queue, &request, sizeof request, &answer, 10), "round %u is not answered", i);
        bool is_reset = request.type == VIRTIO_MEM_REQ_UNPLUG_ALL;
        REQUIRE(is_reset == (answer.type == VIRTIO_MEM_RESP_ACK), "round %u: type %u, answer %u", i,
                request.type, answer.type);
    }
    uint64_t plugged =
        virtio_config_read64(device, offsetof(struct virtio_mem_config, plugged_size));
    REQUIRE(plugged == 0, "%lu bytes are plugged", plugged);
    /* The last test of a run: what it takes for page tables is given back after it. */
    paging_map(first, size);
    volatile uint64_t *word = (volatile uint64_t *)(first + size - 8);
    *word = 1;
    return test_passed("rounds=%u unplugged=%lu", ROUNDS, *word);
}

static bool is_pattern(volatile uint64_t *words, uint64_t count)
{
    /* All of the first two pages, which are written most. */
    for (uint64_t i = 0; i < count; i += i < 2 * PAGE / 8 ? 1 : STRIDE)
        if (words[i] != i)
            return false;
    return true;
}

/* At CPL 3 and at CPL 0. */
static void scribble(uint64_t start, struct interrupt_frame *frame)
{
    (void)frame;
    volatile uint64_t *words = (volatile uint64_t *)start;
    for (unsigned i = 0; i < 16; i++)
        words[i] = ~0ull;
    *(volatile uint8_t *)(start + 77) = 0xaa;
    __asm__ volatile("lock xaddq %1, %0" : "+m"(words[3]) : "r"(5ull) : "memory");
}

/* The first file is read-only, the second is not; each word of both is its own index at first. */
static enum verdict pmem(void)
{
    struct virtio_device *devices[] = {virtio_device_by_id(VIRTIO_ID_PMEM, 0),
                                       virtio_device_by_id(VIRTIO_ID_PMEM, 1)};
    struct virtqueue queues[2];
    volatile uint64_t *words[2];
    uint64_t counts[2];
    if (!devices[0] || !devices[1])
        return test_skipped("no files as memory");
    for (unsigned i = 0; i < 2; i++) {
        REQUIRE(start(devices[i], &queues[i]), "device %u does not start", i);
        uint64_t first = virtio_config_read64(devices[i], 0);
        uint64_t size = virtio_config_read64(devices[i], 8);
        paging_map(first, size);
        words[i] = (volatile uint64_t *)first;
        counts[i] = size / 8;
    }
    /* The last page of the first one is behind the end of its file. */
    REQUIRE(is_pattern(words[0], counts[0] - 512), "the content is another");
    REQUIRE(bytes_are((void *)(words[0] + counts[0] - 512), 0, PAGE), "the end is not zeroes");
    REQUIRE(is_pattern(words[1], counts[1]), "the content is another");
    scribble((uintptr_t)words[0], NULL);
    cpl0_call(scribble, (uintptr_t)words[0] + PAGE);
    words[0][counts[0] - 1] = 1;
    REQUIRE(is_pattern(words[0], counts[0] - 512), "writes to a read-only file have an effect");
    REQUIRE(words[0][counts[0] - 1] == 0, "writes behind its end have one");
    for (uint64_t i = 0; i < counts[1]; i += 512)
        words[1][i] = i + 1;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct virtio_pmem_req request = {.type = i % 3};
        struct virtio_pmem_resp answer = {.ret = ~0u};
        REQUIRE(ask(&queues[i % 2], &request, sizeof request, &answer, sizeof answer),
                "round %u is not answered", i);
        REQUIRE(answer.ret == (i % 3 != 0), "round %u: answer %u", i, answer.ret);
    }
    return test_passed("bytes=%lu", 8 * counts[1]);
}

static const struct test tests[] = {
    {"mem", mem},
    {"pmem", pmem},
};

const struct test_suite test_suite_memory_devices = TEST_SUITE(tests);
