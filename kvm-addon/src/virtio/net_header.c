#include "net_header.h"

static bool segmentation_is_valid(const struct virtio_net_hdr_v1 *header, uint32_t features)
{
    unsigned type = header->gso_type;
    if (type & VIRTIO_NET_HDR_GSO_ECN && !net_has_feature(features, VIRTIO_NET_F_HOST_ECN))
        return false;
    switch (type & ~(unsigned)VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return type == VIRTIO_NET_HDR_GSO_NONE;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        if (!net_has_feature(features, VIRTIO_NET_F_HOST_TSO4))
            return false;
        break;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        if (!net_has_feature(features, VIRTIO_NET_F_HOST_TSO6))
            return false;
        break;
    default:
        return false;
    }
    /* 5.1.6.2.1: with segmentation the driver "MUST also set the VIRTIO_NET_HDR_F_NEEDS_CSUM". */
    return header->gso_size > 0 && header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
}

bool net_header_check(struct virtio_net_hdr_v1 *header, uint32_t frame_bytes, uint32_t features)
{
    /* 5.1.6.2.2: "The device MUST ignore flag bits that it does not recognize." */
    header->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header->num_buffers = 0;
    if (header->flags) {
        uint32_t end = (uint32_t)header->csum_start + header->csum_offset + sizeof(uint16_t);
        if (!net_has_feature(features, VIRTIO_NET_F_CSUM) || end > frame_bytes)
            return false;
    } else {
        header->csum_start = header->csum_offset = 0;
    }
    /* 5.1.6.2.2: "The device MUST NOT rely on hdr_len to be correct." */
    if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE)
        header->hdr_len = header->gso_size = 0;
    else if (header->hdr_len > frame_bytes)
        header->hdr_len = (uint16_t)frame_bytes;
    return segmentation_is_valid(header, features);
}
