/* The header that precedes each frame in guest memory (virtio 1.2, section 5.1.6). */
#ifndef TSVM_NET_HEADER_H
#define TSVM_NET_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_net.h>

static inline bool net_has_feature(uint32_t features, unsigned bit)
{
    return features & (1u << bit);
}

/*
 * Checks the copy of a driver's header against the features and the frame's length, and clears what
 * a device ignores. False when the frame cannot be sent as the header says.
 */
bool net_header_check(struct virtio_net_hdr_v1 *header, uint32_t frame_bytes, uint32_t features);

#endif
