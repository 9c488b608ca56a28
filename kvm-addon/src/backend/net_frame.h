/* Frames to be sent to a port. Not for C++, because <linux/virtio_net.h> is not. */
#ifndef TSVM_NET_FRAME_H
#define TSVM_NET_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <linux/virtio_net.h>

/* The header of each frame in guest memory (virtio 1.2, section 5.1.6). */
#define NET_HEADER_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1))
/* An Ethernet header: the addresses of the receiver and of the sender, and a type. */
#define NET_FRAME_BYTES_MIN 14u
#define NET_SOURCE_OFFSET 6u
/* An Ethernet header, a VLAN tag and an IP packet of 65,535 bytes; tap rounds the sum down to this.
 */
#define NET_FRAME_BYTES_MAX 65550u
#define NET_MESSAGE_BYTES_MAX (NET_HEADER_BYTES + NET_FRAME_BYTES_MAX)
/* Buffers of a frame, without those that the port adds in front. */
#define NET_FRAME_IOVS_MAX 1000u

/* A frame to send. */
struct net_frame {
    struct virtio_net_hdr_v1 header;       /* checked copy of the driver's header */
    uint8_t ethernet[NET_FRAME_BYTES_MIN]; /* checked copy of its start, if sources are checked */
    struct iovec *iov;                     /* the port may use the entry before the first one */
    unsigned count;                        /* at most NET_FRAME_IOVS_MAX */
    uint32_t bytes;
    bool dropped; /* by the port */
};

#endif
