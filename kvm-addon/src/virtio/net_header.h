/* The header of each frame in guest memory (virtio 1.2, section 5.1.6). */
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
 * Checks a copy of the driver's header against the features and the length of the frame, and clears
 * what a device ignores. Returns false if the frame cannot be sent with this header.
 */
bool net_header_check(struct virtio_net_hdr_v1 *header, uint32_t frame_bytes, uint32_t features);

#endif
