#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "net_frame.h"
#include "net_port.h"
#include "tap_ring.h"

#define FEATURE(bit) (1u << (bit))

_Static_assert(NET_READS_MAX <= TAP_RING_FRAMES, "a batch of reads is one of the ring");

struct tap_port {
    struct net_port port;
    struct tap_ring ring;
    bool limited; /* the device has had no room for a frame */
};

static struct tap_port *tap_of(struct net_port *port)
{
    return (struct tap_port *)port;
}

/* The offloads that the driver accepts for received frames, as flags of TUNSETOFFLOAD. */
static unsigned long tap_offloads(uint32_t features)
{
    unsigned long offloads = 0;
    if (features & FEATURE(VIRTIO_NET_F_GUEST_CSUM))
        offloads |= TUN_F_CSUM;
    if (features & FEATURE(VIRTIO_NET_F_GUEST_TSO4))
        offloads |= TUN_F_TSO4;
    if (features & FEATURE(VIRTIO_NET_F_GUEST_TSO6))
        offloads |= TUN_F_TSO6;
    if (features & FEATURE(VIRTIO_NET_F_GUEST_ECN))
        offloads |= TUN_F_TSO_ECN;
    return offloads;
}

static int tap_start(struct net_port *port, uint32_t features)
{
    int header_bytes = NET_HEADER_BYTES, little_endian = 1;
    if (ioctl(port->fd, TUNSETVNETHDRSZ, &header_bytes) < 0 ||
        ioctl(port->fd, TUNSETVNETLE, &little_endian) < 0 ||
        ioctl(port->fd, TUNSETOFFLOAD, tap_offloads(features)) < 0)
        return -errno;
    return 0;
}

/* Only a read tells whether there is a frame. */
static int tap_peek(struct net_port *port)
{
    (void)port;
    return 0;
}

/* EBADFD: the device was deleted. EIO: it is down and may come up again. */
static int tap_error(struct net_port *port, int error)
{
    if (error == EBADFD) {
        net_port_fail(port, -error);
        return -EPIPE;
    }
    return -EAGAIN;
}

static ssize_t tap_receive(struct net_port *port, const struct iovec *iov, unsigned count)
{
    for (;;) {
        ssize_t got = readv(port->fd, iov, (int)count);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return tap_error(port, errno);
    }
}

static unsigned tap_receive_batch(struct net_port *port, struct net_read *reads, unsigned count)
{
    struct tap_ring *ring = &tap_of(port)->ring;
    unsigned tried = 0;
    if (!ring->works)
        return 0;
    for (unsigned i = 0; i < count; i++)
        tap_ring_add_read(ring, reads[i].iov, reads[i].count);
    tap_ring_run(ring);
    for (; tried < count && ring->results[tried] != TAP_RING_UNTRIED; tried++) {
        int result = ring->results[tried];
        reads[tried].result = result < 0 ? tap_error(port, -result) : result;
    }
    return tried;
}

static void tap_skip(struct net_port *port)
{
    uint8_t byte;
    /* A read discards the rest of the frame. */
    if (read(port->fd, &byte, sizeof byte) < 0)
        return;
}

/* Takes note of the result of a frame. Returns false if it was not taken. */
static bool sent_check(struct net_port *port, struct net_frame *frame, int result)
{
    if (result == -EAGAIN)
        return false;
    frame->dropped = result < 0;
    if (result < 0)
        tap_error(port, -result);
    return true;
}

static int frame_write(const struct net_port *port, const struct net_frame *frame)
{
    for (;;) {
        ssize_t sent = writev(port->fd, frame->iov - 1, (int)frame->count + 1);
        if (sent >= 0)
            return (int)sent;
        if (errno != EINTR)
            return -errno;
    }
}

/*
 * Writes frames by the ring. Returns how many were tried and, in `taken`, how many of those the
 * device took. One that it did not take, but a later one, is dropped, to keep the order. That can
 * happen in one batch only: afterwards frames are written one at a time. By default the kernel sets
 * no limit (TUNSETSNDBUF).
 */
static unsigned frames_write(struct tap_port *tap, struct net_frame *frames, unsigned count,
                             unsigned *taken)
{
    struct tap_ring *ring = &tap->ring;
    unsigned tried = 0;
    count = count < TAP_RING_FRAMES ? count : TAP_RING_FRAMES;
    for (unsigned i = 0; i < count; i++)
        tap_ring_add_write(ring, frames[i].iov - 1, frames[i].count + 1);
    tap_ring_run(ring);
    *taken = 0;
    for (; tried < count && ring->results[tried] != TAP_RING_UNTRIED; tried++) {
        frames[tried].dropped = true;
        if (sent_check(&tap->port, &frames[tried], ring->results[tried]))
            *taken = tried + 1;
        else
            tap->limited = true;
    }
    return tried;
}

/* The kernel checks the header again, against its own copy of the frame. */
static int tap_send(struct net_port *port, struct net_frame *frames, unsigned count)
{
    struct tap_port *tap = tap_of(port);
    unsigned done = 0;
    port->blocked = false;
    for (unsigned i = 0; i < count; i++)
        frames[i].iov[-1] =
            (struct iovec){.iov_base = &frames[i].header, .iov_len = NET_HEADER_BYTES};
    while (done < count && !port->blocked) {
        unsigned tried = 1, taken = 1;
        if (tap->ring.works && !tap->limited && count - done > 1)
            tried = frames_write(tap, frames + done, count - done, &taken);
        else if (!sent_check(port, &frames[done], frame_write(port, &frames[done])))
            taken = 0;
        done += taken;
        port->blocked = taken < tried;
    }
    return net_port_has_failed(port) ? -EPIPE : (int)done;
}

static void tap_free(struct net_port *port)
{
    struct tap_port *tap = tap_of(port);
    tap_ring_destroy(&tap->ring);
    free(tap);
}

static const struct net_port_ops TAP_OPS = {
    .start = tap_start,
    .peek = tap_peek,
    .receive = tap_receive,
    .receive_batch = tap_receive_batch,
    .skip = tap_skip,
    .send = tap_send,
    .free = tap_free,
};

struct net_port *tap_port_create(int fd, struct wake wake)
{
    struct tap_port *tap = calloc(1, sizeof *tap);
    if (!tap)
        return NULL;
    tap->port = (struct net_port){.ops = &TAP_OPS, .fd = fd, .wake = wake};
    tap_ring_init(&tap->ring, fd);
    return &tap->port;
}
