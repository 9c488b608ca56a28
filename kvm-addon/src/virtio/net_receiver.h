/*
 * Reception: from the port to the driver's chains.
 *
 * Chains are staged, that is, taken from the queue before a frame arrives, so that a frame is read
 * into them without a copy. They stay staged until a frame fills them or the worker stops. After
 * small frames, a batch of frames is read, into a chain each.
 */
#ifndef TSVM_NET_RECEIVER_H
#define TSVM_NET_RECEIVER_H

#include "../backend/net_port.h"
#include "../util/counter.h"
#include "../util/event_loop.h"
#include "net_backlog.h"
#include "virtqueue.h"

struct net_receiver_statistics {
    counter frames;
    counter bytes;
    counter dropped; /* too long for the driver's buffers, or received while the link was down */
};

/* A staged chain. */
struct net_staged {
    uint16_t head;
    uint16_t iov_count;
    uint32_t bytes;
};

struct net_receiver {
    struct net_port *port;
    struct event_loop *loop;
    struct net_receiver_statistics *statistics; /* owned by the caller */
    struct virtqueue *queue;                    /* the queue of the staged chains */
    bool mergeable;                             /* VIRTIO_NET_F_MRG_RXBUF was negotiated */
    bool readable;                              /* the port may have a frame */
    bool starving; /* which needs chains that the driver has to offer */

    struct net_staged *staged; /* in queue order, queue->size entries */
    unsigned staged_count;
    uint64_t staged_bytes;
    struct iovec *iov; /* the buffers of the staged chains in order, iov_max entries */
    unsigned iov_count;
    unsigned iov_max;

    uint32_t expected; /* bytes to stage for a frame of unknown length, including its header */
    uint8_t *spill;    /* overflow buffer for the part of a frame that does not fit in the staged
                        * chains */
    /* length of a frame that waits for more chains, including its header; 0 if there is none */
    uint32_t pending_bytes;
    uint32_t pending_direct; /* number of its bytes in the staged chains */
    unsigned batch;          /* how many frames to read next */
    struct net_backlog backlog;
    struct event_timer starved;
};

/* `queue` is the receive queue, or NULL if the driver has set up none. Returns 0 or -ENOMEM. */
int net_receiver_init(struct net_receiver *receiver, struct net_port *port, struct event_loop *loop,
                      struct virtqueue *queue, bool mergeable,
                      struct net_receiver_statistics *statistics);
void net_receiver_free(struct net_receiver *receiver);

/* Whether there may be a frame to receive. */
static inline bool net_receiver_wants(const struct net_receiver *receiver)
{
    return receiver->readable || receiver->pending_bytes > 0 || receiver->backlog.count > 0;
}

/* Receives up to `max` frames. Returns their number. */
unsigned net_receiver_serve(struct net_receiver *receiver, unsigned max);

/* Gives back the staged chains. A waiting frame is lost. */
void net_receiver_stop(struct net_receiver *receiver);

#endif
