/* A virtio-blk request (virtio 1.2, section 5.2.6): from descriptor chain to disk request. */
#ifndef TSVM_BLK_REQUEST_H
#define TSVM_BLK_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <linux/virtio_blk.h>

#include "../backend/disk_types.h"
#include "virtqueue.h"

/* What the configuration space promised and the driver negotiated. */
struct blk_limits {
    uint8_t id[VIRTIO_BLK_ID_BYTES]; /* of GET_ID, padded with zeroes */
    uint32_t seg_max;
    uint32_t max_discard_sectors;
    uint32_t max_write_zeroes_sectors;
    uint32_t features; /* negotiated, the low 32 bits */
};

struct blk_request {
    struct disk_request disk;
    struct blk_queue *queue;
    struct blk_request *next_free;
    uint16_t head;
    uint8_t *status;       /* where the guest wants it, or NULL: it gave no place */
    uint32_t data_written; /* bytes of the chain's data that success has written */
    struct iovec iov[];    /* room for queue size entries */
};

/* The request is for the disk; any other result of a parse is the status to return at once. */
#define BLK_REQUEST_TO_DISK (-1)

/*
 * Parses the chain whose buffers are in request->iov: fills the members above and, for the disk,
 * what is the submitter's in request->disk but `done`. Never touches more of the guest's memory
 * than the header, a GET_ID buffer and a discard's range. Returns BLK_REQUEST_TO_DISK or a
 * VIRTIO_BLK_S_ value.
 */
int blk_request_parse(struct blk_request *request, const struct virtqueue_chain *chain,
                      const struct blk_limits *limits);

#endif
