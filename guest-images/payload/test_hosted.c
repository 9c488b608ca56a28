/* virtio-balloon and virtio-console, whose queues no data plane in C serves, by a hostile driver.
 */
#include <linux/virtio_balloon.h>
#include <linux/virtio_console.h>

#include "heap.h"
#include "random.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtqueue.h"

#define PAGE 4096
#define ROUNDS 500

#define CONTROL_RECEIVE 2
#define CONTROL_TRANSMIT 3

static bool wait_for(struct virtqueue *queue, struct completion *completion)
{
    for (uint64_t start = rdtsc(); !virtqueue_reap(queue, completion); cpu_relax())
        if (timed_out(start))
            return false;
    return true;
}

/* Sends a buffer and waits until the device returns it, without a byte written. */
static bool send(struct virtqueue *queue, void *buffer, uint32_t length)
{
    struct segment segment = {buffer, length, 0};
    struct completion completion;
    if (virtqueue_add(queue, &segment, 1, CHAIN_DIRECT) < 0)
        return false;
    virtqueue_kick(queue);
    return wait_for(queue, &completion) && completion.length == 0;
}

/* Gives a page away in a list of pages that are not memory, or any; the memory is identity mapped.
 */
static enum verdict balloon(void)
{
    struct virtio_device *device = virtio_device_by_id(VIRTIO_ID_BALLOON, 0);
    if (!device)
        return test_skipped("no balloon");
    struct virtqueue inflate;
    virtqueue_create(&inflate, device, 0);
    REQUIRE(virtio_device_negotiate(device, VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)),
            "the device does not start");
    REQUIRE(virtqueue_start(&inflate, false), "no queue");
    virtio_device_ready(device);
    uint8_t *pages = heap_take(3 * PAGE, PAGE);
    memset(pages, 0xcc, 3 * PAGE);
    uint32_t given = (uint32_t)((uintptr_t)(pages + PAGE) / PAGE);
    uint32_t list[] = {0xffffffff, 0xc0000, 0xd0001, 0xfec00, given, 0x80000000, given, 0xfee00};
    for (unsigned i = 0; i < ROUNDS; i++)
        REQUIRE(send(&inflate, list, 1 + i % (unsigned)sizeof list), "round %u is not answered", i);
    REQUIRE(bytes_are(pages + PAGE, 0, PAGE), "the page is not given away");
    REQUIRE(bytes_are(pages, 0xcc, PAGE) && bytes_are(pages + 2 * PAGE, 0xcc, PAGE),
            "its neighbours are");
    pages[PAGE] = 1;
    REQUIRE(pages[PAGE] == 1, "the page does not come back");
    return test_passed("rounds=%u", ROUNDS);
}

/* Sends control messages that no driver sends, then does what an orderly one does. */
static enum verdict console(void)
{
    struct virtio_device *device = virtio_device_by_id(VIRTIO_ID_CONSOLE, 0);
    if (!device)
        return test_skipped("no console");
    struct virtqueue receive, transmit;
    virtqueue_create(&receive, device, CONTROL_RECEIVE);
    virtqueue_create(&transmit, device, CONTROL_TRANSMIT);
    REQUIRE(virtio_device_negotiate(device, VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT)),
            "the device does not start");
    REQUIRE(virtqueue_start(&receive, false) && virtqueue_start(&transmit, false), "no queues");
    virtio_device_ready(device);
    uint64_t state = RANDOM_SEED;
    uint64_t noise[8];
    for (unsigned i = 0; i < ROUNDS; i++) {
        random_fill(&state, noise, sizeof noise);
        struct virtio_console_control *message = (void *)noise;
        if (i % 2) {
            message->id %= 3;
            message->event %= 9;
        }
        REQUIRE(send(&transmit, noise, 1 + i % (unsigned)sizeof noise), "round %u is not answered",
                i);
    }
    REQUIRE(virtio_device_negotiate(device, VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT)),
            "the device does not start again");
    REQUIRE(virtqueue_start(&receive, false) && virtqueue_start(&transmit, false), "no queues");
    virtio_device_ready(device);
    struct virtio_console_control answer = {0}, hello = {.event = VIRTIO_CONSOLE_DEVICE_READY};
    struct segment room = {&answer, sizeof answer, VRING_DESC_F_WRITE};
    REQUIRE(virtqueue_add(&receive, &room, 1, CHAIN_DIRECT) >= 0, "no room");
    virtqueue_kick(&receive);
    hello.value = 1;
    REQUIRE(send(&transmit, &hello, sizeof hello), "the device does not answer");
    struct completion completion;
    REQUIRE(wait_for(&receive, &completion), "no port is added");
    REQUIRE(completion.length == sizeof answer && answer.event == VIRTIO_CONSOLE_PORT_ADD,
            "%u bytes, event %u", completion.length, answer.event);
    return test_passed("rounds=%u port=%u", ROUNDS, answer.id);
}

static const struct test tests[] = {
    {"balloon", balloon},
    {"console", console},
};

const struct test_suite test_suite_hosted = TEST_SUITE(tests);
