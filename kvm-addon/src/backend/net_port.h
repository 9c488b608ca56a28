/*
 * The host's end of a virtual network link: a tap device, or a stream socket to a program such as
 * passt. A frame is an Ethernet frame without its checksum, of at most NET_FRAME_BYTES_MAX bytes.
 *
 * Only the thread that serves the link may call functions other than net_port_set_link().
 */
#ifndef TSVM_NET_PORT_H
#define TSVM_NET_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "../util/wake.h"

struct net_frame; /* net_frame.h */
struct net_port;

/* Most frames that are received at once. */
#define NET_READS_MAX 16u

/* A frame to receive. */
struct net_read {
    const struct iovec *iov;
    unsigned count;
    ssize_t result; /* as of net_port_ops.receive */
};

struct net_port_ops {
    /* Applies the features that the driver has negotiated. Returns 0 or -errno. */
    int (*start)(struct net_port *port, uint32_t features);
    /*
     * Length of the next frame in bytes; 0 if there may be a frame of unknown length; -EAGAIN if
     * there is none, -EPIPE if the peer has closed the link, -EPROTO if it has violated the
     * protocol.
     */
    int (*peek)(struct net_port *port);
    /*
     * Receives the next frame, preceded by a header. A frame that is too long is truncated. Returns
     * the number of bytes received, including the header, or -errno as peek does.
     */
    ssize_t (*receive)(struct net_port *port, const struct iovec *iov, unsigned count);
    /*
     * Receives up to NET_READS_MAX frames, whose order is that of `reads`; a read that found none
     * may precede one that did. Returns how many reads were tried, beginning with the first; 0 if
     * the port cannot do this now. NULL if it never can.
     */
    unsigned (*receive_batch)(struct net_port *port, struct net_read *reads, unsigned count);
    /* Drops the frame whose length peek has returned. */
    void (*skip)(struct net_port *port);
    /*
     * Sends frames, after the rest of earlier ones. Returns the number of frames accepted, which
     * are sent or dropped, or -EPIPE. If it sets `blocked`, call it again when the descriptor is
     * writable, even without further frames.
     */
    int (*send)(struct net_port *port, struct net_frame *frames, unsigned count);
    void (*free)(struct net_port *port);
};

#define NET_ADDRESS_BYTES 6u

struct net_port {
    const struct net_port_ops *ops;
    int fd;          /* non-blocking; closed by the owner */
    bool blocked;    /* the last send would have blocked */
    bool link_down;  /* atomic */
    bool has_source; /* the driver's frames must come from the address `source`; final */
    uint8_t source[NET_ADDRESS_BYTES];
    int failure;      /* atomic: 0, or the -errno that stopped the port */
    struct wake wake; /* woken after a failure */
};

static inline bool net_port_is_up(const struct net_port *port)
{
    return !__atomic_load_n(&port->link_down, __ATOMIC_RELAXED);
}

/* Frames of the driver with another source address are dropped. Before the link is used. */
static inline void net_port_set_source(struct net_port *port, const uint8_t *address)
{
    port->has_source = true;
    memcpy(port->source, address, sizeof port->source);
}

/* From any thread. Frames are dropped while the link is down. */
static inline void net_port_set_link(struct net_port *port, bool up)
{
    __atomic_store_n(&port->link_down, !up, __ATOMIC_RELAXED);
}

/* Records that the port has failed. */
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
 * A queue of a tap device that was opened with IFF_VNET_HDR: the kernel handles virtio-net headers.
 * Returns NULL when out of memory.
 */
struct net_port *tap_port_create(int fd, struct wake wake);

/*
 * A stream socket, on which each frame is preceded by its length, 32 bits in network byte order.
 * Returns NULL when out of memory.
 */
struct net_port *stream_port_create(int fd, struct wake wake);

#endif
