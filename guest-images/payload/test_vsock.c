/* Packets that no driver sends, and a connection beside them that goes on. The host echoes what
 * comes to vsock-port= (77). */
#include "../../test/vectors/hostile_vsock.h"
#include "cmdline.h"
#include "heap.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtio_vsock.h"

#define PORT_DEFAULT 77
#define UNCONNECTED_PORT 1
/* Packets after which a device that has not noticed a lie never will. */
#define LIES_MAX 1000
/* Few enough that the host's process accepts them within the timeout, on an emulated host too. */
#define CONNECTIONS 150

static uint32_t echo_port(void)
{
    return (uint32_t)cmdline_number("vsock-port", PORT_DEFAULT);
}

/* Sends a few bytes and gets them back, packets of other connections aside. */
static enum verdict echo(struct vsock_driver *vsock)
{
    static const uint8_t BYTES[] = "the device goes on";
    struct vsock_received received;
    unsigned count = 0;
    struct virtio_vsock_hdr header = vsock_header(vsock, VIRTIO_VSOCK_OP_RW);
    header.len = sizeof(BYTES);
    REQUIRE(vsock_send(vsock, &header, BYTES, sizeof(BYTES)), "nothing can be sent");
    while (count < sizeof(BYTES)) {
        REQUIRE(vsock_receive(vsock, &received), "no answer");
        bool mine = received.header.dst_port == vsock->guest_port;
        if (mine && received.header.op == VIRTIO_VSOCK_OP_RW) {
            REQUIRE(received.header.len <= sizeof(BYTES) - count &&
                        memcmp(received.payload, BYTES + count, received.header.len) == 0,
                    "other bytes came back");
            count += received.header.len;
        }
        REQUIRE(!mine || received.header.op != VIRTIO_VSOCK_OP_RST, "the connection was reset");
        vsock_release(vsock, &received);
    }
    vsock->received += count;
    return VERDICT_PASSED;
}

/* The answer to a packet from `port` is an RST. */
static enum verdict reset_comes(struct vsock_driver *vsock, uint32_t port, const char *name)
{
    struct vsock_received received;
    do {
        REQUIRE(vsock_receive(vsock, &received), "%s: no answer", name);
        vsock_release(vsock, &received);
    } while (received.header.dst_port != port || received.header.op != VIRTIO_VSOCK_OP_RST);
    return VERDICT_PASSED;
}

static enum verdict packet_try(struct vsock_driver *vsock,
                               const struct hostile_vsock_packet *packet)
{
    static const uint8_t PAYLOAD[64];
    uint32_t port = vsock->guest_port;
    if (packet->connected) {
        REQUIRE(vsock_connect(vsock, echo_port()), "%s: no connection", packet->name);
        port = vsock->guest_port;
    }
    struct virtio_vsock_hdr header = vsock_header(vsock, packet->op);
    if (!packet->connected)
        header.src_port = port = UNCONNECTED_PORT;
    hostile_vsock_apply(packet, &header);
    REQUIRE(vsock_send(vsock, &header, PAYLOAD, packet->payload_bytes), "%s: stuck", packet->name);
    if (packet->answered)
        return reset_comes(vsock, port, packet->name);
    REQUIRE_PASSED(echo(vsock));
    return VERDICT_PASSED;
}

static enum verdict vsock_hostile(void)
{
    struct vsock_driver vsock;
    REQUIRE(vsock_open(&vsock, false), "no vsock device");
    REQUIRE(vsock_connect(&vsock, echo_port()), "no connection");
    for (unsigned i = 0; i < HOSTILE_VSOCK_PACKETS; i++) {
        REQUIRE_PASSED(packet_try(&vsock, &hostile_vsock_packets[i]));
        REQUIRE(!virtio_needs_reset(vsock.device), "%s: the device needs a reset",
                hostile_vsock_packets[i].name);
    }
    REQUIRE(vsock_connect(&vsock, echo_port()), "no connection afterwards");
    REQUIRE_PASSED(echo(&vsock));
    return test_passed("packets=%lu", HOSTILE_VSOCK_PACKETS);
}

/* More than was promised: the connection is reset, others go on. */
static enum verdict vsock_credit_lies(void)
{
    struct vsock_driver vsock;
    struct vsock_received received;
    uint8_t *bytes = heap_take(VSOCK_TX_BYTES, 4096);
    uint64_t sent = 0;
    bool reset = false;
    REQUIRE(vsock_open(&vsock, false), "no vsock device");
    REQUIRE(vsock_connect(&vsock, echo_port()), "no connection");
    /* The echo stops when this driver does not read: it gives no credit at all. */
    for (unsigned i = 0; i < LIES_MAX && !reset; i++) {
        struct virtio_vsock_hdr header = vsock_header(&vsock, VIRTIO_VSOCK_OP_RW);
        header.len = VSOCK_TX_BYTES;
        header.buf_alloc = 0;
        REQUIRE(vsock_send(&vsock, &header, bytes, VSOCK_TX_BYTES), "stuck");
        sent += VSOCK_TX_BYTES;
        while (vsock_poll(&vsock, &received)) {
            reset = reset || received.header.op == VIRTIO_VSOCK_OP_RST;
            vsock_release(&vsock, &received);
        }
    }
    REQUIRE(reset, "no reset after %lu bytes", sent);
    REQUIRE(vsock_connect(&vsock, echo_port()), "no connection afterwards");
    REQUIRE_PASSED(echo(&vsock));
    return test_passed("bytes=%lu", sent);
}

/* Requests without end, to a port that accepts and to one that nobody listens on. */
static enum verdict vsock_flood(void)
{
    struct vsock_driver vsock;
    struct vsock_received received;
    unsigned answers = 0;
    REQUIRE(vsock_open(&vsock, false), "no vsock device");
    for (unsigned i = 0; i < 2 * CONNECTIONS; i++) {
        vsock.host_port = i % 2 == 0 ? echo_port() : UNCONNECTED_PORT;
        vsock.guest_port++;
        struct virtio_vsock_hdr header = vsock_header(&vsock, VIRTIO_VSOCK_OP_REQUEST);
        REQUIRE(vsock_send(&vsock, &header, NULL, 0), "stuck after %u", i);
        while (vsock_poll(&vsock, &received)) {
            answers++;
            vsock_release(&vsock, &received);
        }
    }
    while (answers < 2 * CONNECTIONS) {
        REQUIRE(vsock_receive(&vsock, &received), "%u answers", answers);
        answers++;
        vsock_release(&vsock, &received);
    }
    REQUIRE(vsock_connect(&vsock, echo_port()), "no connection afterwards");
    REQUIRE_PASSED(echo(&vsock));
    return test_passed("answers=%u", answers);
}

static const struct test tests[] = {
    {"vsock-hostile", vsock_hostile},
    {"vsock-credit-lies", vsock_credit_lies},
    {"vsock-flood", vsock_flood},
};

const struct test_suite test_suite_vsock = TEST_SUITE(tests);
