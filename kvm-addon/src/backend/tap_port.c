#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "net_frame.h"
#include "net_port.h"

#define FEATURE(bit) (1u << (bit))

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

static void tap_skip(struct net_port *port)
{
    uint8_t byte;
    /* A read discards the rest of the frame. */
    if (read(port->fd, &byte, sizeof byte) < 0)
        return;
}

/* The kernel checks the header again, against its own copy of the frame. */
static int tap_send(struct net_port *port, struct net_frame *frames, unsigned count)
{
    port->blocked = false;
    for (unsigned i = 0; i < count; i++) {
        struct net_frame *frame = &frames[i];
        struct iovec *iov = frame->iov - 1;
        *iov = (struct iovec){.iov_base = &frame->header, .iov_len = NET_HEADER_BYTES};
        ssize_t sent;
        do
            sent = writev(port->fd, iov, (int)frame->count + 1);
        while (sent < 0 && errno == EINTR);
        if (sent >= 0)
            continue;
        if (errno == EAGAIN) {
            port->blocked = true;
            return (int)i;
        }
        frame->dropped = true;
        if (tap_error(port, errno) == -EPIPE)
            return -EPIPE;
    }
    return (int)count;
}

static void tap_free(struct net_port *port)
{
    free(port);
}

static const struct net_port_ops TAP_OPS = {
    .start = tap_start,
    .peek = tap_peek,
    .receive = tap_receive,
    .skip = tap_skip,
    .send = tap_send,
    .free = tap_free,
};

struct net_port *tap_port_create(int fd, struct wake wake)
{
    struct net_port *port = calloc(1, sizeof *port);
    if (port)
        *port = (struct net_port){.ops = &TAP_OPS, .fd = fd, .wake = wake};
    return port;
}
