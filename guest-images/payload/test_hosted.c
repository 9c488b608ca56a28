/* virtio-balloon and virtio-console, whose queues no data plane in C serves, by a hostile driver.
 */
#include <linux/virtio_balloon.h>
#include <linux/virtio_console.h>

#include "../../test/vectors/hostile_balloon.h"
#include "../../test/vectors/hostile_console.h"
#include "boot_info.h"
#include "heap.h"
#include "random.h"
#include "serial.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtqueue.h"

#define PAGE 4096
#define ROUNDS 500

#define CONTROL_RECEIVE 2
#define CONTROL_TRANSMIT 3
#define PORT_1_TRANSMIT 5

#define LINE_BYTES 64u
#define FLOOD_CHUNK 32768u
#define FLOOD_CHUNKS 100u /* fewer than the queue is long */
#define FLOOD_WAIT_CYCLES 100000000ull

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

/* Gives a page away in lists of pages that are not memory, of any length; the memory is identity
 * mapped. */
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
    uint32_t list[HOSTILE_PAGE_COUNT + 1];
    for (unsigned i = 0; i < HOSTILE_PAGE_COUNT; i++)
        list[i] = hostile_page_number(&hostile_pages[i], ram_end());
    REQUIRE(send(&inflate, list, HOSTILE_PAGE_COUNT * sizeof *list), "no answer");
    REQUIRE(bytes_are(pages, 0xcc, 3 * PAGE), "a page that was not named is given away");
    list[HOSTILE_PAGE_COUNT] = (uint32_t)((uintptr_t)(pages + PAGE) / PAGE);
    for (unsigned i = 0; i < ROUNDS; i++)
        REQUIRE(send(&inflate, list, 1 + i % (unsigned)sizeof list), "round %u is not answered", i);
    REQUIRE(send(&inflate, list, sizeof list), "no answer");
    REQUIRE(bytes_are(pages + PAGE, 0, PAGE), "the page is not given away");
    REQUIRE(bytes_are(pages, 0xcc, PAGE) && bytes_are(pages + 2 * PAGE, 0xcc, PAGE),
            "its neighbours are");
    pages[PAGE] = 1;
    REQUIRE(pages[PAGE] == 1, "the page does not come back");
    return test_passed("pages=%lu", HOSTILE_PAGE_COUNT);
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
    for (unsigned i = 0; i < HOSTILE_CONTROL_COUNT; i++) {
        struct virtio_console_control message = hostile_controls[i].message;
        REQUIRE(send(&transmit, &message, hostile_controls[i].bytes), "%s: no answer",
                hostile_controls[i].name);
        REQUIRE(!virtio_needs_reset(device), "%s: it needs a reset", hostile_controls[i].name);
    }
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

/* Output to a port without end, until the device takes no more, or all of it. The lines of 64 bytes
 * are numbered. Then waits until the host has read all of it. */
static enum verdict console_flood(void)
{
    struct virtio_device *device = virtio_device_by_id(VIRTIO_ID_CONSOLE, 0);
    if (!device)
        return test_skipped("no console");
    struct virtqueue control, receive, output;
    struct completion completion;
    virtqueue_create(&control, device, CONTROL_TRANSMIT);
    virtqueue_create(&receive, device, CONTROL_RECEIVE);
    virtqueue_create(&output, device, PORT_1_TRANSMIT);
    REQUIRE(virtio_device_negotiate(device, VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT)),
            "the device does not start");
    REQUIRE(virtqueue_start(&control, false) && virtqueue_start(&receive, false) &&
                virtqueue_start(&output, false),
            "no queues");
    virtio_device_ready(device);
    struct virtio_console_control opened = {.id = 1, .event = VIRTIO_CONSOLE_PORT_OPEN, .value = 1};
    REQUIRE(send(&control, &opened, sizeof opened), "the port does not open");
    uint8_t *lines = heap_take(FLOOD_CHUNKS * FLOOD_CHUNK, PAGE);
    unsigned held = 0;
    bool waited = false;
    for (unsigned chunk = 0; chunk < FLOOD_CHUNKS; chunk++) {
        uint8_t *start = lines + (size_t)chunk * FLOOD_CHUNK;
        memset(start, 'x', FLOOD_CHUNK);
        for (unsigned i = 0; i < FLOOD_CHUNK / LINE_BYTES; i++) {
            uint32_t number = chunk * (FLOOD_CHUNK / LINE_BYTES) + i;
            for (unsigned digit = 8; digit-- > 0; number /= 10)
                start[i * LINE_BYTES + digit] = (uint8_t)('0' + number % 10);
            start[i * LINE_BYTES + LINE_BYTES - 1] = '\n';
        }
        struct segment segment = {start, FLOOD_CHUNK, 0};
        REQUIRE(virtqueue_add(&output, &segment, 1, CHAIN_DIRECT) >= 0, "no room");
        virtqueue_kick(&output);
        held++;
        for (uint64_t begin = rdtsc(); rdtsc() - begin < FLOOD_WAIT_CYCLES && held > 0;)
            while (virtqueue_reap(&output, &completion))
                held--;
        if (held > 0 && !waited) {
            waited = true;
            print("payload: the device holds output back after %u bytes\n", chunk * FLOOD_CHUNK);
        }
    }
    while (held > 0)
        if (virtqueue_reap(&output, &completion))
            held--;
    return test_passed("bytes=%u", FLOOD_CHUNKS * FLOOD_CHUNK);
}

static const struct test tests[] = {
    {"balloon", balloon},
    {"console", console},
    {"console-flood", console_flood},
};

const struct test_suite test_suite_hosted = TEST_SUITE(tests);
