/* Transmission: from the driver's chains to the port, in batches. */
#ifndef TSVM_NET_TRANSMITTER_H
#define TSVM_NET_TRANSMITTER_H

#include "../backend/net_port.h"
#include "../util/counter.h"
#include "virtqueue.h"

/* Maximum number of frames in a batch. */
#define NET_TRANSMIT_BATCH 64u

struct net_transmitter_statistics {
    counter frames;
    counter bytes;
    counter dropped; /* malformed, refused by the host, or sent while the link was down */
    counter spoofed; /* of the dropped ones, those that had another source address */
};

struct net_transmitter {
    struct net_port *port;
    uint32_t features;
    struct net_transmitter_statistics *statistics; /* owned by the caller */
    struct iovec *iov;                             /* buffers of the frames in a batch, iov_max
                                                    * entries */
    unsigned iov_max;
};

/* `size` is the size of the largest queue. Returns 0 or -ENOMEM. */
int net_transmitter_init(struct net_transmitter *transmitter, struct net_port *port,
                         uint32_t features, unsigned size,
                         struct net_transmitter_statistics *statistics);
void net_transmitter_free(struct net_transmitter *transmitter);

/* Sends up to `max` frames of a queue. Returns the number of chains returned to the driver. */
unsigned net_transmitter_serve(struct net_transmitter *transmitter, struct virtqueue *queue,
                               unsigned max);

#endif
