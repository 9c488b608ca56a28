/* A network device with a driver that behaves, and one that does not. The host answers ARP requests
 * for HOST_ADDRESS, as Linux does on a tap device with that address. */
#include "../../test/vectors/net_headers.h"
#include "heap.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtio_net.h"

#define ARP_BYTES 42
#define ARP_REPLY 2
#define STARVED_REQUESTS 2000u

static const uint8_t HOST_ADDRESS[] = {10, 9, 0, 1}, GUEST_ADDRESS[] = {10, 9, 0, 2};
static const uint8_t GUEST_MAC[] = {2, 0, 0, 0, 0, 1};

/* Waits for the next used chain of a queue. */
static bool chain_await(struct virtqueue *queue, struct completion *completion)
{
    for (uint64_t start = rdtsc(); !virtqueue_reap(queue, completion); cpu_relax())
        if (timed_out(start))
            return false;
    return true;
}

static void arp_request_fill(struct net_header *header)
{
    static const uint8_t START[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,
                                    1,    8,    6,    0,    1,    8,    0, 6, 4, 0, 1};
    uint8_t *frame = (uint8_t *)(header + 1);
    memset(header, 0, sizeof *header + ARP_BYTES);
    memcpy(frame, START, sizeof START);
    memcpy(frame + 22, GUEST_MAC, sizeof GUEST_MAC);
    memcpy(frame + 28, GUEST_ADDRESS, sizeof GUEST_ADDRESS);
    memcpy(frame + 38, HOST_ADDRESS, sizeof HOST_ADDRESS);
}

static enum verdict arp_request_send(struct net *net)
{
    struct completion completion;
    struct net_header *request = heap_take(sizeof *request + ARP_BYTES, 64);
    arp_request_fill(request);
    REQUIRE(net_send(net, request, ARP_BYTES) >= 0, "no room to send");
    virtqueue_kick(&net->transmit);
    REQUIRE(chain_await(&net->transmit, &completion), "a frame is kept");
    return VERDICT_PASSED;
}

static bool is_reply(const uint8_t *frame)
{
    return frame[12] == 8 && frame[13] == 6 && frame[21] == ARP_REPLY &&
           memcmp(frame + 28, HOST_ADDRESS, sizeof HOST_ADDRESS) == 0;
}

/* Asks for the host's address and gets the answer in buffers of `bytes` bytes, of which there are
 * enough for a frame of 128 bytes. */
static enum verdict reply_receive(struct net *net, uint32_t bytes)
{
    uint32_t count = (140 + bytes - 1) / bytes;
    uint8_t *buffers = heap_take((size_t)bytes * count, 64);
    int first = -1;
    for (uint32_t i = 0; i < count; i++) {
        int head = net_offer(net, buffers + (size_t)i * bytes, bytes);
        first = i == 0 ? head : first;
    }
    virtqueue_kick(&net->receive);
    REQUIRE_PASSED(arp_request_send(net));
    struct completion completion;
    uint32_t length = 0;
    for (uint16_t left = 1, chain = 0; left > 0; left--, chain++) {
        REQUIRE(chain_await(&net->receive, &completion), "no reply in buffers of %u", bytes);
        length += completion.length;
        if (chain == 0) {
            REQUIRE(completion.head == first, "the buffers are used out of order");
            left = bytes >= sizeof(struct net_header) ? ((struct net_header *)buffers)->num_buffers
                                                      : (uint16_t)count;
        }
        if (length >= sizeof(struct net_header) + ARP_BYTES)
            break;
    }
    REQUIRE(is_reply(buffers + sizeof(struct net_header)), "no ARP reply");
    return VERDICT_PASSED;
}

static enum verdict works(struct net *net)
{
    REQUIRE(net_open(net), "no network device, or it does not start");
    return reply_receive(net, 2048);
}

static enum verdict net_arp(void)
{
    static const uint32_t SIZES[] = {2048, 70000, 32, 16};
    for (unsigned i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        struct net net;
        REQUIRE(net_open(&net), "no network device, or it does not start");
        REQUIRE_PASSED(reply_receive(&net, SIZES[i]));
    }
    return test_passed("sizes=%u", (unsigned)(sizeof SIZES / sizeof SIZES[0]));
}

/* Frames whose headers lie come back, and do no harm. */
static enum verdict net_lies_run(void)
{
    struct net net;
    struct completion completion;
    uint32_t size = sizeof(struct net_header) + NET_LIE_FRAME_BYTES;
    struct net_header *header = heap_take(size, 64);
    REQUIRE(net_open(&net), "no network device, or it does not start");
    for (unsigned i = 0; i < NET_LIE_COUNT; i++) {
        const struct net_lie *lie = &net_lies[i];
        memset(header, 0, size);
        *header = (struct net_header){.flags = lie->flags,
                                      .gso_type = lie->gso_type,
                                      .gso_size = lie->gso_size,
                                      .csum_start = lie->csum_start,
                                      .csum_offset = lie->csum_offset};
        net_send(&net, header, NET_LIE_FRAME_BYTES);
        virtqueue_kick(&net.transmit);
        REQUIRE(chain_await(&net.transmit, &completion), "%s: it is kept", lie->name);
        REQUIRE(!virtio_needs_reset(net.device), "%s: it needs a reset", lie->name);
    }
    REQUIRE_PASSED(reply_receive(&net, 2048));
    return test_passed("frames=%u", (unsigned)NET_LIE_COUNT);
}

/* So do frames that are too short and too long, in chains of any form. */
static enum verdict net_lengths(void)
{
    struct net net;
    struct completion completion;
    uint8_t *frame = heap_take(1u << 20, 64);
    memset(frame, 0, 1u << 20);
    REQUIRE(net_open(&net), "no network device, or it does not start");
    for (unsigned i = 0; i < NET_BAD_LENGTH_COUNT; i++) {
        for (uint16_t flags = 0; flags <= VRING_DESC_F_WRITE; flags += VRING_DESC_F_WRITE) {
            struct segment segment = {frame, net_bad_lengths[i], flags};
            virtqueue_add(&net.transmit, &segment, 1, CHAIN_DIRECT);
            virtqueue_kick(&net.transmit);
            REQUIRE(chain_await(&net.transmit, &completion), "%u bytes: kept", net_bad_lengths[i]);
            REQUIRE(completion.length == 0, "%u bytes: written to", net_bad_lengths[i]);
        }
    }
    REQUIRE_PASSED(reply_receive(&net, 2048));
    return test_passed("lengths=%u", (unsigned)NET_BAD_LENGTH_COUNT);
}

/* A loop in one of the queues: the device needs a reset, also where it must first have a frame. */
static enum verdict loop_run(uint16_t index)
{
    struct net net;
    REQUIRE(net_open(&net), "no network device, or it does not start");
    struct virtqueue *queue = index == 0 ? &net.receive : &net.transmit;
    uint16_t flags = VRING_DESC_F_NEXT | (index == 0 ? VRING_DESC_F_WRITE : 0);
    queue->descriptors[0] = (struct vring_desc){(uintptr_t)heap_take(64, 64), 64, flags, 0};
    queue->available->ring[0] = 0;
    queue->next_available = 1;
    virtqueue_kick(queue);
    if (index == 0) {
        struct net_header *request = heap_take(sizeof *request + ARP_BYTES, 64);
        arp_request_fill(request);
        net_send(&net, request, ARP_BYTES);
        virtqueue_kick(&net.transmit);
    }
    for (uint64_t start = rdtsc(); !virtio_needs_reset(net.device); cpu_relax())
        REQUIRE(!timed_out(start), "queue %u: no DEVICE_NEEDS_RESET", index);
    return works(&net);
}

static enum verdict net_loops(void)
{
    REQUIRE_PASSED(loop_run(0));
    REQUIRE_PASSED(loop_run(1));
    return test_passed("queues=%u", 2u);
}

/* No buffer is offered while the host answers many times: the driver can still send, and receives
 * as soon as there are buffers. */
static enum verdict net_starved(void)
{
    struct net net;
    REQUIRE(net_open(&net), "no network device, or it does not start");
    for (unsigned i = 0; i < STARVED_REQUESTS; i++)
        REQUIRE_PASSED(arp_request_send(&net));
    REQUIRE(!virtio_needs_reset(net.device), "it needs a reset");
    /* Some of the old answers, or the new one, are there. */
    REQUIRE_PASSED(reply_receive(&net, 2048));
    return test_passed("requests=%u", STARVED_REQUESTS);
}

/* Requests from other source addresses, which the host must not see if spoofing is refused. */
static enum verdict net_spoofed(void)
{
    struct net net;
    struct completion completion;
    struct net_header *request = heap_take(sizeof *request + ARP_BYTES, 64);
    uint8_t *source = (uint8_t *)(request + 1) + sizeof GUEST_MAC;
    REQUIRE(net_open(&net), "no network device, or it does not start");
    for (unsigned i = 0; i < sizeof GUEST_MAC; i++) {
        arp_request_fill(request);
        source[i] ^= 0x10;
        REQUIRE(net_send(&net, request, ARP_BYTES) >= 0, "no room to send");
        virtqueue_kick(&net.transmit);
        REQUIRE(chain_await(&net.transmit, &completion), "a frame is kept");
    }
    REQUIRE_PASSED(reply_receive(&net, 2048));
    return test_passed("frames=%u", (unsigned)sizeof GUEST_MAC);
}

static const struct test tests[] = {
    {"net-arp", net_arp},       {"net-spoofed", net_spoofed}, {"net-starved", net_starved},
    {"net-lies", net_lies_run}, {"net-lengths", net_lengths}, {"net-loops", net_loops},
};

const struct test_suite test_suite_net = TEST_SUITE(tests);
