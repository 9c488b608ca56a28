/* A virtio-net driver (virtio 1.2, 5.1) that polls: one pair of queues. */
#ifndef PAYLOAD_VIRTIO_NET_H
#define PAYLOAD_VIRTIO_NET_H

#include "virtqueue.h"

/* struct virtio_net_hdr_v1; <linux/virtio_net.h> needs headers that a freestanding program lacks.
 */
struct net_header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

#define NET_NEEDS_CSUM 1
#define NET_GSO_TCPV4 1
#define NET_FRAME_MAX 65550

struct net {
    struct virtio_device *device;
    struct virtqueue receive, transmit;
};

/* Takes the memory for and starts the first network device; false: there is none, or it refuses. */
bool net_open(struct net *net);
/* Offers a buffer for reception, without a kick. Returns its head or -1. */
int net_offer(struct net *net, void *buffer, uint32_t length);
/* Adds a frame that follows its header in memory, without a kick. Returns its head or -1. */
int net_send(struct net *net, struct net_header *frame, uint32_t frame_length);

#endif
