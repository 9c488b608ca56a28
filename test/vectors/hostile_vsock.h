/*
 * Packets to a socket device that violate the specification (virtio 1.2, 5.10.6). This is the only
 * list of them. It is used by the unit tests of the data plane in C and by the bare-metal payload
 * under KVM.
 *
 * None of them affects a connection other than its own, or makes the device need a reset.
 */
#ifndef TSVM_TEST_HOSTILE_VSOCK_H
#define TSVM_TEST_HOSTILE_VSOCK_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stdint.h>

/* Stands for the right value of a field. */
#define HOSTILE_VSOCK_TYPE 0

struct hostile_vsock_packet {
    const char *name;
    bool connected; /* on an established connection, else on none */
    bool answered;  /* by an RST; else it is dropped */
    uint16_t op;
    uint16_t type; /* HOSTILE_VSOCK_TYPE: stream */
    uint32_t length;
    uint32_t payload_bytes; /* that follow the header: at most 64 */
    uint64_t source_change; /* added to the guest's CID */
    uint64_t target_change; /* added to the host's CID */
};

static const struct hostile_vsock_packet hostile_vsock_packets[] = {
    {.name = "response-unasked", .op = VIRTIO_VSOCK_OP_RESPONSE, .answered = true},
    {.name = "shutdown-unconnected", .op = VIRTIO_VSOCK_OP_SHUTDOWN, .answered = true},
    {.name = "data-unconnected",
     .op = VIRTIO_VSOCK_OP_RW,
     .length = 8,
     .payload_bytes = 8,
     .answered = true},
    {.name = "credit-update-unconnected", .op = VIRTIO_VSOCK_OP_CREDIT_UPDATE, .answered = true},
    {.name = "credit-request-unconnected", .op = VIRTIO_VSOCK_OP_CREDIT_REQUEST, .answered = true},
    {.name = "reset-unconnected", .op = VIRTIO_VSOCK_OP_RST},
    {.name = "op-0-unconnected", .op = 0, .answered = true},
    {.name = "op-65535-unconnected", .op = 0xffff, .answered = true},
    {.name = "request-seqpacket",
     .op = VIRTIO_VSOCK_OP_REQUEST,
     .type = VIRTIO_VSOCK_TYPE_SEQPACKET,
     .answered = true},
    {.name = "data-type-65535", .op = VIRTIO_VSOCK_OP_RW, .type = 0xffff, .answered = true},
    {.name = "request-from-another-guest", .op = VIRTIO_VSOCK_OP_REQUEST, .source_change = 1},
    {.name = "request-from-cid-high", .op = VIRTIO_VSOCK_OP_REQUEST, .source_change = 1ull << 32},
    {.name = "request-to-another-guest", .op = VIRTIO_VSOCK_OP_REQUEST, .target_change = 1},
    {.name = "request-to-hypervisor", .op = VIRTIO_VSOCK_OP_REQUEST, .target_change = ~1ull},
    {.name = "request-connected",
     .connected = true,
     .op = VIRTIO_VSOCK_OP_REQUEST,
     .answered = true},
    {.name = "response-connected",
     .connected = true,
     .op = VIRTIO_VSOCK_OP_RESPONSE,
     .answered = true},
    {.name = "op-0-connected", .connected = true, .op = 0, .answered = true},
    {.name = "op-8-connected", .connected = true, .op = 8, .answered = true},
    {.name = "op-65535-connected", .connected = true, .op = 0xffff, .answered = true},
    {.name = "data-longer-than-the-chain",
     .connected = true,
     .op = VIRTIO_VSOCK_OP_RW,
     .length = 9,
     .payload_bytes = 8},
    {.name = "data-of-4-gib",
     .connected = true,
     .op = VIRTIO_VSOCK_OP_RW,
     .length = 0xffffffff,
     .payload_bytes = 8},
    {.name = "data-whose-end-wraps",
     .connected = true,
     .op = VIRTIO_VSOCK_OP_RW,
     .length = (uint32_t)-44,
     .payload_bytes = 8},
    {.name = "data-without-a-payload", .connected = true, .op = VIRTIO_VSOCK_OP_RW, .length = 1},
};

#define HOSTILE_VSOCK_PACKETS (sizeof(hostile_vsock_packets) / sizeof(hostile_vsock_packets[0]))

static inline void hostile_vsock_apply(const struct hostile_vsock_packet *packet,
                                       struct virtio_vsock_hdr *header)
{
    header->src_cid += packet->source_change;
    header->dst_cid += packet->target_change;
    header->op = packet->op;
    header->len = packet->length;
    if (packet->type != HOSTILE_VSOCK_TYPE)
        header->type = packet->type;
}

#endif
