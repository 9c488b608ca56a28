#include "virtio_vsock.h"

#include "heap.h"
#include "timing.h"

#define HOST_CID 2
#define FIRST_PORT 5000

static void rx_give(struct vsock_driver *vsock, uint16_t slot)
{
    struct segment segment = {vsock->rx_buffers + slot * VSOCK_RX_BYTES, VSOCK_RX_BYTES,
                              VRING_DESC_F_WRITE};
    int head = virtqueue_add(&vsock->rx, &segment, 1, CHAIN_DIRECT);
    if (head >= 0)
        vsock->slot_of_head[head] = slot;
}

bool vsock_open(struct vsock_driver *vsock, bool interrupts)
{
    struct virtio_device *device = virtio_device_by_id(VIRTIO_ID_VSOCK, 0);
    if (!device)
        return false;
    *vsock = (struct vsock_driver){
        .device = device, .guest_port = FIRST_PORT, .credit = VSOCK_CREDIT_DEFAULT};
    virtqueue_create(&vsock->rx, device, 0);
    virtqueue_create(&vsock->tx, device, 1);
    vsock->rx_buffers = heap_take(VSOCK_RX_BUFFERS * VSOCK_RX_BYTES, 4096);
    vsock->tx_headers = heap_take(VIRTQUEUE_SIZE_MAX * sizeof(*vsock->tx_headers), 64);
    if (!virtio_device_negotiate(device, VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)) ||
        !virtqueue_start(&vsock->rx, interrupts) || !virtqueue_start(&vsock->tx, false))
        return false;
    vsock->cid = virtio_config_read64(device, 0);
    virtio_device_ready(device);
    for (uint16_t slot = 0; slot < VSOCK_RX_BUFFERS; slot++)
        rx_give(vsock, slot);
    virtqueue_kick(&vsock->rx);
    return true;
}

struct virtio_vsock_hdr vsock_header(const struct vsock_driver *vsock, uint16_t op)
{
    return (struct virtio_vsock_hdr){
        .src_cid = vsock->cid,
        .dst_cid = HOST_CID,
        .src_port = vsock->guest_port,
        .dst_port = vsock->host_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .buf_alloc = vsock->credit,
        .fwd_cnt = vsock->received,
    };
}

bool vsock_send(struct vsock_driver *vsock, const struct virtio_vsock_hdr *header,
                const void *payload, uint32_t bytes)
{
    struct completion completion;
    for (uint64_t start = rdtsc(); vsock->tx.free_count < 2; cpu_relax()) {
        if (timed_out(start))
            return false;
        while (virtqueue_reap(&vsock->tx, &completion))
            continue;
    }
    struct virtio_vsock_hdr *copy = &vsock->tx_headers[vsock->tx.free_head];
    *copy = *header;
    struct segment segments[2] = {{copy, sizeof(*copy), 0}, {(void *)payload, bytes, 0}};
    virtqueue_add(&vsock->tx, segments, bytes > 0 ? 2 : 1, CHAIN_DIRECT);
    virtqueue_kick(&vsock->tx);
    vsock->forwarded_told = header->fwd_cnt;
    return true;
}

bool vsock_poll(struct vsock_driver *vsock, struct vsock_received *received)
{
    struct completion completion;
    if (!virtqueue_reap(&vsock->rx, &completion))
        return false;
    received->slot = vsock->slot_of_head[completion.head];
    const uint8_t *buffer = vsock->rx_buffers + received->slot * VSOCK_RX_BYTES;
    received->header = *(const struct virtio_vsock_hdr *)buffer;
    received->payload = buffer + sizeof(received->header);
    return true;
}

bool vsock_receive(struct vsock_driver *vsock, struct vsock_received *received)
{
    for (uint64_t start = rdtsc(); !vsock_poll(vsock, received); cpu_relax()) {
        if (timed_out(start))
            return false;
    }
    return true;
}

void vsock_release(struct vsock_driver *vsock, const struct vsock_received *received)
{
    rx_give(vsock, received->slot);
    virtqueue_kick(&vsock->rx);
}

void vsock_take_credit(struct vsock_driver *vsock, const struct virtio_vsock_hdr *header)
{
    vsock->peer_buffer = header->buf_alloc;
    vsock->peer_forwarded = header->fwd_cnt;
}

uint32_t vsock_credit(const struct vsock_driver *vsock)
{
    return vsock->peer_buffer - (vsock->sent - vsock->peer_forwarded);
}

bool vsock_connect(struct vsock_driver *vsock, uint32_t host_port)
{
    struct vsock_received received;
    vsock->guest_port++;
    vsock->host_port = host_port;
    vsock->sent = vsock->received = vsock->forwarded_told = 0;
    struct virtio_vsock_hdr header = vsock_header(vsock, VIRTIO_VSOCK_OP_REQUEST);
    if (!vsock_send(vsock, &header, NULL, 0))
        return false;
    /* What belongs to earlier connections may still arrive. */
    while (vsock_receive(vsock, &received)) {
        vsock_release(vsock, &received);
        if (received.header.dst_port != vsock->guest_port)
            continue;
        vsock_take_credit(vsock, &received.header);
        return received.header.op == VIRTIO_VSOCK_OP_RESPONSE;
    }
    return false;
}
