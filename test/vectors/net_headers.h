/*
 * Headers of virtio-net (virtio 1.2, section 5.1.6) that no driver may send with a frame of
 * NET_LIE_FRAME_BYTES bytes. A device drops such a frame. Freestanding: the payload includes it
 * too.
 */
#ifndef TSVM_VECTORS_NET_HEADERS_H
#define TSVM_VECTORS_NET_HEADERS_H

#include <stdint.h>

#define NET_LIE_FRAME_BYTES 100u

#define NET_LIE_CSUM (1u << 0)  /* VIRTIO_NET_F_CSUM */
#define NET_LIE_TSO4 (1u << 11) /* VIRTIO_NET_F_HOST_TSO4 */
#define NET_LIE_ALL (NET_LIE_CSUM | NET_LIE_TSO4)

struct net_lie {
    const char *name;
    uint32_t features; /* negotiated, of those that matter */
    uint8_t flags;     /* 1: VIRTIO_NET_HDR_F_NEEDS_CSUM */
    uint8_t gso_type;  /* 1: TCPv4, 3: UDP, 4: TCPv6, 0x80: ECN */
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
};

static const struct net_lie net_lies[] = {
    {"a checksum starts at the last byte", NET_LIE_ALL, 1, 0, 0, 99, 0},
    {"a checksum ends after the frame", NET_LIE_ALL, 1, 0, 0, 98, 1},
    {"a checksum's place wraps around", NET_LIE_ALL, 1, 0, 0, 0xffff, 0xffff},
    {"a checksum's offset is 0xffff", NET_LIE_ALL, 1, 0, 0, 0, 0xffff},
    {"segments of no size", NET_LIE_ALL, 1, 1, 0, 34, 16},
    {"segments without a checksum", NET_LIE_ALL, 0, 1, 50, 34, 16},
    {"segments of type 2", NET_LIE_ALL, 1, 2, 50, 34, 16},
    {"segments of type 0x7f", NET_LIE_ALL, 1, 0x7f, 50, 34, 16},
    {"no segments, with ECN", NET_LIE_ALL, 0, 0x80, 50, 0, 0},
    {"segments with ECN, not negotiated", NET_LIE_ALL, 1, 0x81, 50, 34, 16},
    {"segments of UDP", NET_LIE_ALL, 1, 3, 50, 34, 16},
    {"segments of TCPv6, not negotiated", NET_LIE_ALL, 1, 4, 50, 34, 16},
    {"segments, not negotiated", NET_LIE_CSUM, 1, 1, 50, 34, 16},
    {"a checksum, not negotiated", 0, 1, 0, 0, 34, 16},
};

#define NET_LIE_COUNT (sizeof net_lies / sizeof net_lies[0])

/* Lengths of chains, including the header, that no driver may send: 5.1.6 and the largest frame
 * that a tap device takes. The device drops them. */
static const uint32_t net_bad_lengths[] = {1, 11, 12, 13, 25, 12 + 65550 + 1, 1u << 20};

#define NET_BAD_LENGTH_COUNT (sizeof net_bad_lengths / sizeof net_bad_lengths[0])

#endif
