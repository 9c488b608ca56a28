/* One connection to a peer on the host, vsock-port= (90), which test/bench/stream-peer.c is: the
 * first byte says what it does. count= bytes in all, or round trips of one byte; credit= bytes of
 * the driver's buffer. The driver sleeps where it has to wait, as Linux's does. */
#include "cmdline.h"
#include "device_interrupt.h"
#include "heap.h"
#include "test.h"
#include "timing.h"
#include "virtio_vsock.h"

#define PORT_DEFAULT 90

/* Sleeps until there may be packets. Interrupts are wanted meanwhile only, as by Linux's driver. */
static void packet_wait(struct vsock_driver *vsock)
{
    uint32_t seen = device_interrupt_count;
    virtqueue_want_interrupts(&vsock->rx, true);
    if (!virtqueue_has_completions(&vsock->rx)) {
        device_interrupt_wait(seen);
        device_interrupt_acknowledge(vsock->device);
    }
    virtqueue_want_interrupts(&vsock->rx, false);
}

/* Takes the packets of the connection that are there. Returns the bytes of data in them. */
static uint32_t packet_take(struct vsock_driver *vsock)
{
    struct vsock_received received;
    uint32_t bytes = 0;
    while (vsock_poll(vsock, &received)) {
        vsock_take_credit(vsock, &received.header);
        bytes += received.header.len;
        vsock->received += received.header.len;
        vsock_release(vsock, &received);
        /* As Linux does: a message when less than half of the credit is left. */
        if (vsock->received - vsock->forwarded_told > vsock->credit / 2) {
            struct virtio_vsock_hdr header = vsock_header(vsock, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            vsock_send(vsock, &header, NULL, 0);
        }
    }
    return bytes;
}

static bool bytes_send(struct vsock_driver *vsock, const void *bytes, uint32_t length)
{
    for (;;) {
        packet_take(vsock);
        if (vsock_credit(vsock) >= length)
            break;
        packet_wait(vsock);
    }
    struct virtio_vsock_hdr header = vsock_header(vsock, VIRTIO_VSOCK_OP_RW);
    header.len = length;
    vsock->sent += length;
    return vsock_send(vsock, &header, bytes, length);
}

static void bytes_await(struct vsock_driver *vsock, uint64_t length)
{
    for (uint64_t got = 0; got < length;) {
        uint32_t part = packet_take(vsock);
        got += part;
        if (part == 0)
            packet_wait(vsock);
    }
}

struct order {
    uint8_t what;
    uint8_t bytes[8];
} __attribute__((packed));

/* Connects and tells the peer what to do, `count` times or with so many bytes. */
static enum verdict bench_open(struct vsock_driver *vsock, uint8_t what, uint64_t count)
{
    static struct order order;
    REQUIRE(vsock_open(vsock, false), "no vsock device");
    vsock->credit = (uint32_t)cmdline_number("credit", VSOCK_CREDIT_DEFAULT);
    REQUIRE(vsock_connect(vsock, (uint32_t)cmdline_number("vsock-port", PORT_DEFAULT)),
            "no connection");
    device_interrupt_enable(vsock->device);
    order.what = what;
    for (unsigned i = 0; i < 8; i++)
        order.bytes[i] = (uint8_t)(count >> 8 * i);
    REQUIRE(bytes_send(vsock, &order, sizeof(order)), "stuck");
    return VERDICT_PASSED;
}

static enum verdict bench_done(struct vsock_driver *vsock, uint64_t count, uint64_t cycles)
{
    device_interrupt_disable(vsock->device);
    return test_passed("count=%lu cycles=%lu", count, cycles);
}

static enum verdict vsock_bench_send(void)
{
    struct vsock_driver vsock;
    uint64_t total = cmdline_number("count", 1u << 28);
    uint8_t *bytes = heap_take(VSOCK_TX_BYTES, 4096);
    REQUIRE_PASSED(bench_open(&vsock, 's', total));
    for (unsigned i = 0; i < VSOCK_TX_BYTES; i += 4096)
        bytes[i] = 1;
    uint64_t start = rdtsc();
    for (uint64_t sent = 0; sent < total; sent += VSOCK_TX_BYTES)
        REQUIRE(bytes_send(&vsock, bytes, VSOCK_TX_BYTES), "stuck after %lu bytes", sent);
    /* The peer answers when it has read all. */
    bytes_await(&vsock, 1);
    return bench_done(&vsock, total, rdtsc() - start);
}

static enum verdict vsock_bench_receive(void)
{
    struct vsock_driver vsock;
    uint64_t total = cmdline_number("count", 1u << 28);
    REQUIRE_PASSED(bench_open(&vsock, 'r', total));
    uint64_t start = rdtsc();
    bytes_await(&vsock, total);
    return bench_done(&vsock, total, rdtsc() - start);
}

static enum verdict vsock_bench_round_trip(void)
{
    static uint8_t byte;
    struct vsock_driver vsock;
    uint64_t count = cmdline_number("count", 10000);
    REQUIRE_PASSED(bench_open(&vsock, 'e', count));
    uint64_t start = rdtsc();
    for (uint64_t i = 0; i < count; i++) {
        REQUIRE(bytes_send(&vsock, &byte, 1), "stuck after %lu", i);
        bytes_await(&vsock, 1);
    }
    return bench_done(&vsock, count, rdtsc() - start);
}

static const struct test benches[] = {
    {"vsock-send", vsock_bench_send},
    {"vsock-receive", vsock_bench_receive},
    {"vsock-round-trip", vsock_bench_round_trip},
};

const struct test_suite bench_suite_vsock = TEST_SUITE(benches);
