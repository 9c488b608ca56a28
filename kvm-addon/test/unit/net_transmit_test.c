/* Transmission of virtio-net through a queue worker. */
#include "../../../test/vectors/net_headers.h"
#include "../../src/backend/tap_ring.h"
#include "../net_setup.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#define HEADER_GPA BUFFERS_GPA
#define FRAME_GPA (BUFFERS_GPA + 0x1000)
#define MERGEABLE FEATURE(VIRTIO_NET_F_MRG_RXBUF)

static void frame_fill(struct setup *s, uint64_t gpa, uint32_t bytes, uint8_t first)
{
    for (uint32_t i = 0; i < bytes; i++)
        at(s, gpa)[i] = (uint8_t)(first + i);
}

static struct virtio_net_hdr_v1 *header(struct setup *s)
{
    return (struct virtio_net_hdr_v1 *)at(s, HEADER_GPA);
}

/* Offers a frame in two descriptors, after a header. */
static void frame_offer(struct setup *s, uint32_t bytes, uint8_t first)
{
    frame_fill(s, FRAME_GPA, bytes, first);
    describe(s, 0, HEADER_GPA, NET_HEADER_BYTES, NEXT, 1);
    describe(s, 1, FRAME_GPA, bytes, 0, 0);
    offer(s, 0);
}

/* What the other end of the stream has received: a frame as frame_offer() made it. */
static bool frame_arrives(struct setup *s, uint32_t bytes, uint8_t first)
{
    static uint8_t data[4 + NET_FRAME_BYTES_MAX];
    uint32_t prefix;
    if (!peer_read(s, data, 4 + bytes))
        return false;
    memcpy(&prefix, data, sizeof prefix);
    return ntohl(prefix) == bytes && bytes_are(data + 4, bytes, first);
}

static bool is_dropped(struct setup *s, uint64_t dropped)
{
    struct vring_used_elem element = await_used(s);
    return element.id == 0 && element.len == 0 &&
           counter_await(&s->net.transmitted.dropped, dropped) && peer_is_silent(s);
}

static void frames_are_sent_with_their_length(void)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE);
    frame_offer(&s, 60, 1);
    CHECK(frame_arrives(&s, 60, 1));
    CHECK(await_used(&s).id == 0);
    frame_offer(&s, NET_FRAME_BYTES_MAX, 2);
    CHECK(frame_arrives(&s, NET_FRAME_BYTES_MAX, 2));
    CHECK(await_used(&s).len == 0);
    CHECK(counter_await(&s.net.transmitted.bytes, 60 + NET_FRAME_BYTES_MAX));
    setup_close(&s);
}

static void header_may_be_in_one_byte_per_descriptor(void)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE);
    frame_fill(&s, FRAME_GPA, 60, 3);
    for (uint16_t i = 0; i < NET_HEADER_BYTES; i++)
        describe(&s, i, HEADER_GPA + i, 1, NEXT, (uint16_t)(i + 1));
    describe(&s, NET_HEADER_BYTES, FRAME_GPA, 60, 0, 0);
    offer(&s, 0);
    CHECK(frame_arrives(&s, 60, 3));
    setup_close(&s);
}

static void frames_of_bad_lengths_are_dropped(void)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE);
    for (unsigned i = 0; i < NET_BAD_LENGTH_COUNT; i++) {
        describe(&s, 0, FRAME_GPA, net_bad_lengths[i], 0, 0);
        offer(&s, 0);
        if (!CHECK(is_dropped(&s, i + 1)))
            fprintf(stderr, "%u bytes\n", net_bad_lengths[i]);
    }
    /* Only device-writable buffers: there is nothing to send. */
    describe(&s, 0, FRAME_GPA, 100, WRITE, 0);
    offer(&s, 0);
    CHECK(is_dropped(&s, NET_BAD_LENGTH_COUNT + 1));
    frame_offer(&s, NET_FRAME_BYTES_MIN, 7);
    CHECK(frame_arrives(&s, NET_FRAME_BYTES_MIN, 7));
    setup_close(&s);
}

static const uint32_t OFFLOADS = MERGEABLE | FEATURE(VIRTIO_NET_F_CSUM) |
                                 FEATURE(VIRTIO_NET_F_HOST_TSO4) | FEATURE(VIRTIO_NET_F_HOST_TSO6);

static void headers_that_lie_are_dropped(void)
{
    for (size_t i = 0; i < NET_LIE_COUNT; i++) {
        const struct net_lie *lie = &net_lies[i];
        struct setup s;
        setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE | lie->features);
        *header(&s) = (struct virtio_net_hdr_v1){.flags = lie->flags,
                                                 .gso_type = lie->gso_type,
                                                 .gso_size = lie->gso_size,
                                                 .csum_start = lie->csum_start,
                                                 .csum_offset = lie->csum_offset};
        frame_offer(&s, NET_LIE_FRAME_BYTES, 0);
        if (!CHECK(is_dropped(&s, 1)))
            fprintf(stderr, "%s\n", lie->name);
        setup_close(&s);
    }
}

/* The port that reads as a tap device does gets the header in front of the frame. */
static void checked_header_precedes_the_frame(void)
{
    struct setup s;
    uint8_t data[NET_HEADER_BYTES + 100];
    struct virtio_net_hdr_v1 sent;
    setup_open(&s, SOCK_SEQPACKET, TRANSMIT, OFFLOADS);
    /* An unknown flag and num_buffers are ignored, a header's length is at most the frame's. */
    *header(&s) = (struct virtio_net_hdr_v1){.flags = 0x80 | VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                             .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                             .hdr_len = 0xffff,
                                             .gso_size = 50,
                                             .csum_start = 34,
                                             .csum_offset = 16,
                                             .num_buffers = 77};
    frame_offer(&s, 100, 9);
    CHECK(peer_read(&s, data, sizeof data));
    memcpy(&sent, data, sizeof sent);
    CHECK(sent.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM && sent.num_buffers == 0);
    CHECK(sent.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 && sent.gso_size == 50);
    CHECK(sent.hdr_len == 100 && sent.csum_start == 34 && sent.csum_offset == 16);
    CHECK(bytes_are(data + NET_HEADER_BYTES, 100, 9));
    setup_close(&s);
}

/* Frames as a hostile driver forges them: in one buffer, and with the address across two. */
static void frames_with_another_source_are_dropped(int type)
{
    static const uint8_t SOURCE[NET_ADDRESS_BYTES] = {13, 14, 15, 16, 17, 18};
    static const uint32_t CUTS[] = {NET_HEADER_BYTES,      NET_HEADER_BYTES + 1,
                                    NET_HEADER_BYTES + 9,  NET_HEADER_BYTES + 14,
                                    NET_HEADER_BYTES + 40, 5};
    uint8_t data[NET_HEADER_BYTES + 100];
    struct setup s;
    setup_open(&s, type, TRANSMIT, OFFLOADS);
    net_port_set_source(s.port, SOURCE);
    uint32_t before = type == SOCK_STREAM ? 4 : NET_HEADER_BYTES;
    for (unsigned i = 0; i < sizeof CUTS / sizeof CUTS[0]; i++) {
        memset(at(&s, HEADER_GPA), 0, NET_HEADER_BYTES);
        frame_fill(&s, HEADER_GPA + NET_HEADER_BYTES, 60, 7);
        describe(&s, 0, HEADER_GPA, CUTS[i], NEXT, 1);
        describe(&s, 1, HEADER_GPA + CUTS[i], NET_HEADER_BYTES + 60 - CUTS[i], 0, 0);
        offer(&s, 0);
        CHECK(peer_read(&s, data, before + 60) && bytes_are(data + before, 60, 7));
        CHECK(await_used(&s).id == 0);
        at(&s, HEADER_GPA)[NET_HEADER_BYTES + NET_SOURCE_OFFSET + i % NET_ADDRESS_BYTES] ^= 1;
        offer(&s, 0);
        CHECK(is_dropped(&s, i + 1));
        CHECK(counter_await(&s.net.transmitted.spoofed, i + 1));
    }
    setup_close(&s);
}

#define MANY 8
#define LARGE 60000u

/* Offers MANY large frames, more than the socket takes: chains 0, 2, ... */
static void flood(struct setup *s)
{
    for (uint16_t i = 0; i < MANY; i++) {
        uint64_t gpa = FRAME_GPA + i * 0x10000u;
        frame_fill(s, gpa, LARGE, (uint8_t)i);
        describe(s, (uint16_t)(2 * i), HEADER_GPA, NET_HEADER_BYTES, NEXT, (uint16_t)(2 * i + 1));
        describe(s, (uint16_t)(2 * i + 1), gpa, LARGE, 0, 0);
        offer(s, (uint16_t)(2 * i));
    }
}

static void socket_make_small(struct setup *s)
{
    int bytes = 4 * (int)LARGE / 3;
    setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static void full_socket_delays_frames_and_loses_none(void)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE);
    socket_make_small(&s);
    flood(&s);
    for (uint8_t i = 0; i < MANY; i++)
        CHECK(frame_arrives(&s, LARGE, i));
    for (unsigned i = 0; i < MANY; i++)
        CHECK(await_used(&s).id == 2 * i);
    CHECK(counter_await(&s.net.transmitted.frames, MANY));
    CHECK(counter_read(&s.net.transmitted.dropped) == 0);
    setup_close(&s);
}

/* A tap device takes a batch as far as it has room, and the rest later. */
static void batch_for_a_full_device_keeps_its_order(void)
{
    static uint8_t bytes[NET_TRANSMIT_BATCH][1024], data[NET_HEADER_BYTES + 1024];
    static struct iovec iov[NET_TRANSMIT_BATCH][2];
    static struct net_frame frames[NET_TRANSMIT_BATCH];
    int ends[2], room = 8192;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    struct net_port *port = tap_port_create(ends[0], (struct wake){0});
    for (unsigned i = 0; i < NET_TRANSMIT_BATCH; i++) {
        memset(bytes[i], (int)i, sizeof bytes[i]);
        iov[i][1] = (struct iovec){bytes[i], sizeof bytes[i]};
        frames[i] = (struct net_frame){.iov = &iov[i][1], .count = 1, .bytes = sizeof bytes[i]};
    }
    for (unsigned sent = 0, turn = 0; sent < NET_TRANSMIT_BATCH; turn++) {
        int taken = port->ops->send(port, frames + sent, NET_TRANSMIT_BATCH - sent);
        CHECK(taken > 0 && (turn > 0 || port->blocked));
        CHECK(port->blocked == (sent + (unsigned)taken < NET_TRANSMIT_BATCH));
        for (int i = 0; i < taken; i++, sent++) {
            CHECK(read(ends[1], data, sizeof data) == (ssize_t)sizeof data);
            CHECK(!frames[sent].dropped && data[NET_HEADER_BYTES] == sent);
        }
        if (taken <= 0)
            break;
    }
    CHECK(read(ends[1], data, sizeof data) < 0);
    net_port_free(port);
    close(ends[0]);
    close(ends[1]);
}

/* Whoever has taken over the thread can do nothing else with it. */
static void ring_takes_reads_and_writes_only(void)
{
    static struct tap_ring ring;
    struct io_uring_cqe *completion;
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
    tap_ring_init(&ring, ends[0]);
    if (ring.works) {
        io_uring_prep_openat(io_uring_get_sqe(&ring.ring), AT_FDCWD, "/dev/null", O_RDONLY, 0);
        CHECK(io_uring_submit_and_wait(&ring.ring, 1) == 1);
        CHECK(io_uring_peek_cqe(&ring.ring, &completion) == 0 && completion->res == -EACCES);
        io_uring_cqe_seen(&ring.ring, completion);
        CHECK(io_uring_register_files(&ring.ring, ends, 1) == -EACCES);
    }
    tap_ring_destroy(&ring);
    close(ends[0]);
    close(ends[1]);
}

static int tap_attach(void)
{
    struct ifreq request = {.ifr_name = "tap0", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

/* For the next machine. Only root can make such devices, here in a network of its own. */
static void tap_device_is_free_at_once(void)
{
    int fd = unshare(CLONE_NEWNET) == 0 ? tap_attach() : -1;
    if (fd < 0) {
        printf("tap devices: skipped, they cannot be made here\n");
        return;
    }
    CHECK(ioctl(fd, TUNSETPERSIST, 1) == 0);
    struct net_port *port = tap_port_create(fd, (struct wake){0});
    static uint8_t data[2][NET_FRAME_BYTES_MIN];
    static struct iovec iov[2][2];
    struct net_frame frames[2] = {0};
    for (unsigned i = 0; i < 2; i++) {
        iov[i][1] = (struct iovec){data[i], sizeof data[i]};
        frames[i] = (struct net_frame){.iov = &iov[i][1], .count = 1, .bytes = sizeof data[i]};
    }
    CHECK(port->ops->start(port, MERGEABLE) == 0);
    CHECK(port->ops->send(port, frames, 2) == 2);
    close(fd);
    net_port_free(port);
    fd = tap_attach();
    CHECK(fd >= 0);
    close(fd);
}

/* The worker stops with half a frame sent: the next run sends the other half first. */
static void stop_amid_a_frame_keeps_the_stream_whole(void)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE);
    socket_make_small(&s);
    flood(&s);
    struct pollfd readable = {.fd = s.peer, .events = POLLIN};
    CHECK(poll(&readable, 1, AWAIT_MS) == 1);
    CHECK(device_stop(&s.device));
    CHECK(s.device.driver.used->idx < MANY);
    start(&s);
    for (uint8_t i = 0; i < MANY; i++)
        CHECK(frame_arrives(&s, LARGE, i));
    CHECK(counter_await(&s.net.transmitted.frames, MANY));
    setup_close(&s);
}

static void frames_are_dropped_while_the_link_is_down(void)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE);
    net_port_set_link(s.port, false);
    frame_offer(&s, 60, 1);
    CHECK(is_dropped(&s, 1));
    net_port_set_link(s.port, true);
    frame_offer(&s, 60, 2);
    CHECK(frame_arrives(&s, 60, 2));
    setup_close(&s);
}

static void peer_that_is_gone_is_reported_and_frames_are_dropped(void)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE);
    close(s.peer);
    frame_offer(&s, 60, 1);
    CHECK(event_wait(s.failed, AWAIT_MS));
    CHECK(s.port->failure == -EPIPE);
    CHECK(await_used(&s).id == 0);
    frame_offer(&s, 60, 1);
    CHECK(await_used(&s).id == 0);
    CHECK(counter_await(&s.net.transmitted.dropped, 2));
    s.peer = dup(s.fd);
    setup_close(&s);
}

/* Ten frames at 100 per second, one at a time: nine waits of 10 ms. */
static void frames_wait_for_the_rate_limiter(void)
{
    struct setup s;
    struct timespec begin, end;
    setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    rate_limiter_set(&s.limiter,
                     &(struct rate_limits){.operations_per_second = 100, .burst_operations = 1},
                     (uint64_t)begin.tv_sec * 1000000000u + (uint64_t)begin.tv_nsec);
    for (uint8_t i = 0; i < 10; i++) {
        frame_offer(&s, 60, i);
        CHECK(frame_arrives(&s, 60, i));
        CHECK(await_used(&s).id == 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t passed_ms =
        (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
    CHECK(passed_ms >= 89);
    /* A busy machine has waited for some already. */
    CHECK(counter_read(&s.net.transmit_gate.delays) >= 1);
    /* Without a limit, all is as before. */
    rate_limiter_set(&s.limiter, &(struct rate_limits){0}, 0);
    frame_offer(&s, 60, 77);
    CHECK(frame_arrives(&s, 60, 77));
    setup_close(&s);
}

/* The vCPU may need the core. */
static void worker_does_not_poll_for_a_driver_that_only_transmits(void)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, TRANSMIT, MERGEABLE);
    CHECK(!s.net.handler.waits(&s.net.handler));
    for (uint8_t i = 0; i < 20; i++) {
        frame_offer(&s, 60, i);
        CHECK(frame_arrives(&s, 60, i));
        CHECK(await_used(&s).id == 0);
    }
    CHECK(s.net.handler.waits(&s.net.handler));
    setup_close(&s);
}

int main(void)
{
    worker_does_not_poll_for_a_driver_that_only_transmits();
    frames_wait_for_the_rate_limiter();
    frames_are_sent_with_their_length();
    header_may_be_in_one_byte_per_descriptor();
    frames_of_bad_lengths_are_dropped();
    headers_that_lie_are_dropped();
    checked_header_precedes_the_frame();
    frames_with_another_source_are_dropped(SOCK_STREAM);
    frames_with_another_source_are_dropped(SOCK_SEQPACKET);
    full_socket_delays_frames_and_loses_none();
    batch_for_a_full_device_keeps_its_order();
    ring_takes_reads_and_writes_only();
    tap_device_is_free_at_once();
    stop_amid_a_frame_keeps_the_stream_whole();
    frames_are_dropped_while_the_link_is_down();
    peer_that_is_gone_is_reported_and_frames_are_dropped();
    return check_finish();
}
