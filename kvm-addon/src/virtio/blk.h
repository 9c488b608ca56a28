/* The data plane of virtio-blk (virtio 1.2, section 5.2): the queue handler of a block device. */
#ifndef TSVM_BLK_H
#define TSVM_BLK_H

#include "../backend/disk.h"
#include "../util/counter.h"
#include "blk_request.h"
#include "queue_worker.h"
#include "rate_gate.h"

struct blk_queue;

struct blk_statistics {
    counter reads;
    counter read_bytes;
    counter writes;
    counter written_bytes;
    counter flushes;
    counter discards; /* and write-zeroes */
    counter errors;   /* requests that ended with another status than OK */
};

struct blk {
    struct queue_handler handler;
    struct disk *disk;
    struct blk_limits limits;
    struct disk_session session;
    struct rate_limiter *limiter; /* or NULL */
    struct rate_gate gate;
    struct blk_queue *queues; /* as many as the worker's, while it runs */
    unsigned queue_count;
    struct virtqueue *first_queue;
    struct blk_statistics statistics;
};

/* `features` are set with blk->limits.features before each start of the worker. */
void blk_init(struct blk *blk, struct disk *disk, const struct blk_limits *limits,
              struct rate_limiter *limiter);

#endif
