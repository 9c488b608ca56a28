/* Frames on their way to a port. Not for C++: <linux/virtio_net.h> is not. */
#ifndef TSVM_NET_FRAME_H
#define TSVM_NET_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <linux/virtio_net.h>

/* What precedes each frame in guest memory (virtio 1.2, section 5.1.6). */
#define NET_HEADER_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1))
/* An Ethernet header. */
#define NET_FRAME_BYTES_MIN 14u
/* An Ethernet header, a VLAN tag, and an IP packet of 65,535 bytes, rounded down by tap to this. */
#define NET_FRAME_BYTES_MAX 65550u
/* Buffers of a frame, without what the port puts before it. */
#define NET_FRAME_IOVS_MAX 1000u

/* A frame to send. */
struct net_frame {
    struct virtio_net_hdr_v1 header; /* checked */
    struct iovec *iov;               /* the entry before the first one is the port's to use */
    unsigned count;                  /* at most NET_FRAME_IOVS_MAX */
    uint32_t bytes;
    bool dropped; /* by the port */
};

#endif
