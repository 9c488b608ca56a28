/*
 * The host's end of a virtual network link: a tap device, or a stream socket to a program such as
 * passt. A frame is an Ethernet frame without its checksum, at most NET_FRAME_BYTES_MAX long.
 *
 * All functions but net_port_set_link() are for the one thread that serves the link.
 */
#ifndef TSVM_NET_PORT_H
#define TSVM_NET_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "../util/wake.h"

struct net_frame; /* net_frame.h */
struct net_port;

struct net_port_ops {
    /* Adapts to the features that the driver has negotiated. Returns 0 or -errno. */
    int (*start)(struct net_port *port, uint32_t features);
    /*
     * Bytes of the next frame, 0 if there may be one of unknown length, or a negative errno:
     * -EAGAIN when there is none, -EPIPE when the other side is gone, -EPROTO when it sent
     * nonsense.
     */
    int (*peek)(struct net_port *port);
    /*
     * Receives the next frame after a header. Of a longer frame the rest is lost. Returns the bytes
     * received, with the header, or -errno as peek does.
     */
    ssize_t (*receive)(struct net_port *port, const struct iovec *iov, unsigned count);
    /* Drops the frame that peek told the length of. */
    void (*skip)(struct net_port *port);
    /*
     * Sends frames, after what is left of earlier ones. Returns how many were taken, to be sent or
     * dropped, or -EPIPE. When it leaves `blocked` set, call it again once the descriptor is
     * writable, with no frames if there are none.
     */
    int (*send)(struct net_port *port, struct net_frame *frames, unsigned count);
    void (*free)(struct net_port *port);
};

struct net_port {
    const struct net_port_ops *ops;
    int fd;           /* non-blocking; the owner's */
    bool blocked;     /* the last send found no room */
    bool link_down;   /* atomic */
    int failure;      /* atomic: 0, or -errno of what ended the port's service */
    struct wake wake; /* told of a failure */
};

static inline bool net_port_is_up(const struct net_port *port)
{
    return !__atomic_load_n(&port->link_down, __ATOMIC_RELAXED);
}

/* From any thread. Frames are dropped while the link is down. */
static inline void net_port_set_link(struct net_port *port, bool up)
{
    __atomic_store_n(&port->link_down, !up, __ATOMIC_RELAXED);
}

/* The port serves no more. */
static inline void net_port_fail(struct net_port *port, int error)
{
    if (__atomic_load_n(&port->failure, __ATOMIC_RELAXED) != 0)
        return;
    __atomic_store_n(&port->failure, error, __ATOMIC_RELEASE);
    wake_notify(&port->wake);
}

static inline bool net_port_has_failed(const struct net_port *port)
{
    return __atomic_load_n(&port->failure, __ATOMIC_RELAXED) != 0;
}

static inline void net_port_free(struct net_port *port)
{
    port->ops->free(port);
}

/*
 * A queue of a tap device, opened with IFF_VNET_HDR: the kernel takes and gives virtio-net's
 * headers. Returns NULL without memory.
 */
struct net_port *tap_port_create(int fd, struct wake wake);

/*
 * A stream socket on which the length of each frame, 32 bits in network byte order, precedes it.
 * Returns NULL without memory.
 */
struct net_port *stream_port_create(int fd, struct wake wake);

#endif
