/* A driver of one virtio-vsock device with one connection at a time, polled (virtio 1.2, 5.10). */
#ifndef PAYLOAD_VIRTIO_VSOCK_H
#define PAYLOAD_VIRTIO_VSOCK_H

#include <linux/virtio_vsock.h>

#include "virtqueue.h"

#define VSOCK_RX_BUFFERS 128u
/* As Linux's buffers: a page each. */
#define VSOCK_RX_BYTES 4096u
#define VSOCK_TX_BYTES 65536u
/* Linux's default for what the peer may send before it is told that the driver has read. */
#define VSOCK_CREDIT_DEFAULT (256u << 10)

struct vsock_driver {
    struct virtio_device *device;
    struct virtqueue rx, tx;
    uint64_t cid;
    uint32_t credit; /* bytes; at most what the rx buffers hold is of use */
    uint8_t *rx_buffers;
    uint16_t slot_of_head[VIRTQUEUE_SIZE_MAX];
    struct virtio_vsock_hdr *tx_headers; /* one for each descriptor */
    /* The connection. */
    uint32_t guest_port, host_port;
    uint32_t peer_buffer, peer_forwarded, sent;
    uint32_t received, forwarded_told;
};

/* A packet from the device. Its payload stays until vsock_release. */
struct vsock_received {
    struct virtio_vsock_hdr header;
    const uint8_t *payload;
    uint16_t slot;
};

/* Starts the device and gives it its rx buffers; with interrupts, it is to interrupt for packets.
 * False: there is none, or it does not start. */
bool vsock_open(struct vsock_driver *vsock, bool interrupts);
/* The header of a packet of the connection. */
struct virtio_vsock_hdr vsock_header(const struct vsock_driver *vsock, uint16_t op);
/* Sends a packet; waits for room in the queue. False when the device does not answer. */
bool vsock_send(struct vsock_driver *vsock, const struct virtio_vsock_hdr *header,
                const void *payload, uint32_t bytes);
/* Waits for a packet. False when none comes for some seconds. */
bool vsock_receive(struct vsock_driver *vsock, struct vsock_received *received);
/* As vsock_receive, without waiting. */
bool vsock_poll(struct vsock_driver *vsock, struct vsock_received *received);
/* Gives the packet's buffer back to the device. */
void vsock_release(struct vsock_driver *vsock, const struct vsock_received *received);
/* Takes note of the credit in a packet. */
void vsock_take_credit(struct vsock_driver *vsock, const struct virtio_vsock_hdr *header);
uint32_t vsock_credit(const struct vsock_driver *vsock);
/* Connects to a port of the host from a new port. False: refused, or no answer. */
bool vsock_connect(struct vsock_driver *vsock, uint32_t host_port);

#endif
