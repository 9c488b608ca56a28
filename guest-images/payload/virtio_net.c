#include "virtio_net.h"

#define NET_F_CSUM 0
#define NET_F_GUEST_CSUM 1
#define NET_F_GUEST_TSO4 7
#define NET_F_HOST_TSO4 11
#define NET_F_MRG_RXBUF 15

#define NET_FEATURES                                                                               \
    (VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) | VIRTIO_FEATURE(NET_F_CSUM) |                        \
     VIRTIO_FEATURE(NET_F_GUEST_CSUM) | VIRTIO_FEATURE(NET_F_GUEST_TSO4) |                         \
     VIRTIO_FEATURE(NET_F_HOST_TSO4) | VIRTIO_FEATURE(NET_F_MRG_RXBUF))

bool net_open(struct net *net)
{
    net->device = virtio_device_by_id(VIRTIO_ID_NET, 0);
    if (!net->device)
        return false;
    virtqueue_create(&net->receive, net->device, 0);
    virtqueue_create(&net->transmit, net->device, 1);
    if (!virtio_device_negotiate(net->device, NET_FEATURES) ||
        !virtqueue_start(&net->receive, false) || !virtqueue_start(&net->transmit, false))
        return false;
    virtio_device_ready(net->device);
    return true;
}

int net_offer(struct net *net, void *buffer, uint32_t length)
{
    struct segment segment = {buffer, length, VRING_DESC_F_WRITE};
    return virtqueue_add(&net->receive, &segment, 1, CHAIN_DIRECT);
}

int net_send(struct net *net, struct net_header *frame, uint32_t frame_length)
{
    struct segment segment = {frame, (uint32_t)sizeof *frame + frame_length, 0};
    return virtqueue_add(&net->transmit, &segment, 1, CHAIN_DIRECT);
}
