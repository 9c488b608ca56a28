/* A virtio-blk driver (virtio 1.2, 5.2) that polls. */
#ifndef PAYLOAD_VIRTIO_BLK_H
#define PAYLOAD_VIRTIO_BLK_H

#include <linux/virtio_blk.h>
#include <stddef.h>

#include "virtqueue.h"

#define SECTOR_SIZE 512
#define BLK_QUEUES_MAX 8
#define BLK_SEGMENTS_MAX 48

#define BLK_FEATURES                                                                               \
    (VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) |       \
     VIRTIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIRTIO_FEATURE(VIRTIO_BLK_F_RO) |                      \
     VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH) | VIRTIO_FEATURE(VIRTIO_BLK_F_MQ) |                        \
     VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD) | VIRTIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES))

/* Outcomes beside the VIRTIO_BLK_S_* that the device writes. */
#define BLK_STATUS_NONE 0xff
#define BLK_TIMED_OUT 0x100
#define BLK_NO_ROOM 0x101

/* The request header and status. */
struct blk_frame {
    struct virtio_blk_outhdr header;
    uint8_t status;
};

struct blk {
    struct virtio_device *device;
    struct virtqueue queues[BLK_QUEUES_MAX];
    unsigned queue_count;
    uint64_t capacity_sectors;
    /* Data segments that a request may have. */
    uint32_t segments_max;
    enum chain_form form;
    /* For blk_request, which does one at a time. */
    struct blk_frame *frame;
    uint32_t used_length;
};

/* Takes the memory for and starts the disk that the command line's disk= numbers (default 0);
 * false: there is none, or it refuses to start. */
bool blk_open(struct blk *blk);
/* Resets the device, negotiates these features and starts all queues. */
bool blk_start(struct blk *blk, uint64_t features, bool interrupts);
/* The same with all features that the device offers and this driver has. */
bool blk_restart(struct blk *blk, bool interrupts);
bool blk_has(const struct blk *blk, unsigned feature_bit);

/* Adds a request without a kick; returns its head or -1. */
int blk_add(struct blk *blk, struct virtqueue *queue, struct blk_frame *frame, uint32_t type,
            uint64_t sector, const struct segment *data, unsigned count);
/* Does one request on queue 0; returns its status or BLK_*. */
unsigned blk_request(struct blk *blk, uint32_t type, uint64_t sector, const struct segment *data,
                     unsigned count);
unsigned blk_read(struct blk *blk, uint64_t sector, void *buffer, uint32_t length);
unsigned blk_write(struct blk *blk, uint64_t sector, const void *buffer, uint32_t length);
unsigned blk_flush(struct blk *blk);

#endif
