/*
 * Reception: from the port to the driver's chains.
 *
 * Chains are staged: taken from the queue before a frame comes, so that a frame is read into them
 * without a copy. They stay staged until a frame fills them or the worker stops.
 */
#ifndef TSVM_NET_RECEIVER_H
#define TSVM_NET_RECEIVER_H

#include "../backend/net_port.h"
#include "../util/counter.h"
#include "../util/event_loop.h"
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
    struct net_receiver_statistics *statistics; /* the owner's */
    struct virtqueue *queue;                    /* that of the staged chains */
    bool mergeable;                             /* VIRTIO_NET_F_MRG_RXBUF was negotiated */
    bool readable;                              /* the port may have a frame */

    struct net_staged *staged; /* in the order of the queue, queue->size entries */
    unsigned staged_count;
    uint64_t staged_bytes;
    struct iovec *iov; /* the buffers of the staged chains, one after the other, iov_max entries */
    unsigned iov_count;
    unsigned iov_max;

    uint32_t expected; /* bytes to stage for a frame of unknown length, with its header */
    uint8_t *spill;    /* what of a frame did not fit into the staged chains */
    /* A frame that waits for more chains, with its header; 0: none. */
    uint32_t pending_bytes;
    uint32_t pending_direct; /* bytes of it that are in the staged chains */
    struct event_timer starved;
};

/* `queue` is the one to receive into, or NULL if the driver has set up none. Returns 0 or -ENOMEM.
 */
int net_receiver_init(struct net_receiver *receiver, struct net_port *port, struct event_loop *loop,
                      struct virtqueue *queue, bool mergeable,
                      struct net_receiver_statistics *statistics);
void net_receiver_free(struct net_receiver *receiver);

/* Whether there may be a frame to receive. */
static inline bool net_receiver_wants(const struct net_receiver *receiver)
{
    return receiver->readable || receiver->pending_bytes > 0;
}

/* Receives up to `max` frames. Returns how many. */
unsigned net_receiver_serve(struct net_receiver *receiver, unsigned max);

/* Gives the staged chains back; a frame that waits is lost. */
void net_receiver_stop(struct net_receiver *receiver);

#endif
