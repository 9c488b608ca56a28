#include "any_device.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>

#include "cmdline.h"
#include "heap.h"
#include "string.h"
#include "timing.h"

#define QUEUE_FEATURES                                                                             \
    (VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX))
#define CONSOLE_CONTROL_TRANSMIT 3

const struct device_kind device_kinds[DEVICE_KINDS] = {
    /* A header and a short frame of zeroes, which nobody takes. */
    {.name = "net", .id = VIRTIO_ID_NET, .queue = 1, .readable = 12 + 60},
    {.name = "blk",
     .id = VIRTIO_ID_BLOCK,
     .readable = sizeof(struct virtio_blk_outhdr),
     .writable = VIRTIO_BLK_ID_BYTES + 1,
     .request = VIRTIO_BLK_T_GET_ID},
    /* An event that is not there, which the device ignores. */
    {.name = "console",
     .id = VIRTIO_ID_CONSOLE,
     .features = VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT),
     .queue = CONSOLE_CONTROL_TRANSMIT,
     .readable = sizeof(struct virtio_console_control),
     .request = 0xffffull << 32},
    {.name = "rng", .id = VIRTIO_ID_RNG, .writable = 16},
    /* A page that is not there. */
    {.name = "balloon", .id = VIRTIO_ID_BALLOON, .readable = 4, .request = 0xffffffff},
    /* A packet from CID 0, which the device drops. */
    {.name = "vsock", .id = VIRTIO_ID_VSOCK, .queue = 1, .readable = 44},
};

bool any_device_find(struct any_device *any, const struct device_kind *kind, unsigned n)
{
    *any = (struct any_device){.kind = kind, .device = virtio_device_by_id(kind->id, n)};
    if (!any->device)
        return false;
    virtqueue_create(&any->queue, any->device, kind->queue);
    any->request = heap_take(kind->readable + sizeof(kind->request), 64);
    any->answer = heap_take(kind->writable + 1, 64);
    memset(any->request, 0, kind->readable + sizeof(kind->request));
    memcpy(any->request, &kind->request, sizeof(kind->request));
    return true;
}

bool any_device_start(struct any_device *any, uint64_t unwanted)
{
    uint64_t features = (QUEUE_FEATURES | any->kind->features) & ~unwanted;
    if (!virtio_device_negotiate(any->device, features) || !virtqueue_start(&any->queue, false))
        return false;
    virtio_device_ready(any->device);
    return true;
}

enum verdict any_device_serves(struct any_device *any)
{
    struct segment segments[2];
    struct completion completion;
    unsigned count = 0;
    if (any->kind->readable > 0)
        segments[count++] = (struct segment){any->request, any->kind->readable, 0};
    if (any->kind->writable > 0)
        segments[count++] = (struct segment){any->answer, any->kind->writable, VRING_DESC_F_WRITE};
    int head = virtqueue_add(&any->queue, segments, count, CHAIN_DIRECT);
    REQUIRE(head >= 0, "%s: no room in the queue", any->kind->name);
    virtqueue_kick(&any->queue);
    for (uint64_t start = rdtsc(); !virtqueue_reap(&any->queue, &completion); cpu_relax())
        REQUIRE(!timed_out(start), "%s: no answer", any->kind->name);
    REQUIRE(completion.head == head, "%s: another chain", any->kind->name);
    REQUIRE(any->kind->writable > 0 ? completion.length > 0 : completion.length == 0,
            "%s: %u bytes written", any->kind->name, completion.length);
    REQUIRE(!virtio_needs_reset(any->device), "%s: needs a reset", any->kind->name);
    return VERDICT_PASSED;
}

enum verdict any_device_works_again(struct any_device *any)
{
    REQUIRE(any_device_start(any, 0), "%s: does not start again", any->kind->name);
    return any_device_serves(any);
}

enum verdict any_device_needs_reset(const struct any_device *any)
{
    struct text unused;
    if (cmdline_find("lenient", 0, &unused))
        return VERDICT_PASSED;
    for (uint64_t start = rdtsc(); !virtio_needs_reset(any->device); cpu_relax())
        REQUIRE(!timed_out(start), "%s: no DEVICE_NEEDS_RESET", any->kind->name);
    uint32_t interrupts = virtio_read(any->device, VIRTIO_MMIO_INTERRUPT_STATUS);
    REQUIRE(interrupts & VIRTIO_MMIO_INT_CONFIG, "%s: no configuration change notification",
            any->kind->name);
    return VERDICT_PASSED;
}
