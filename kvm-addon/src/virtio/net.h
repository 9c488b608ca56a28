/*
 * The data plane of virtio-net (virtio 1.2, section 5.1): the queue handler of one queue pair,
 * which connects the driver with a port of the host. Queues with an even index receive, those with
 * an odd index transmit.
 */
#ifndef TSVM_NET_H
#define TSVM_NET_H

#include "../backend/net_port.h"
#include "../util/counter.h"
#include "net_receiver.h"
#include "net_transmitter.h"
#include "queue_worker.h"
#include "rate_gate.h"

struct net {
    struct queue_handler handler;
    struct net_port *port;
    struct rate_limiter *receive_limiter; /* NULL, like the next field, if there is no limit */
    struct rate_limiter *transmit_limiter;
    uint32_t features; /* the low 32 negotiated feature bits; set before each start */

    /* Valid while the worker runs. */
    struct event_loop *loop;
    struct event_source source; /* the port's descriptor */
    uint32_t watched;           /* its events that wake the worker */
    struct net_receiver receiver;
    struct net_transmitter transmitter;
    struct rate_gate receive_gate;
    struct rate_gate transmit_gate;
    bool receives_last;     /* direction of the last turn with frames */
    unsigned one_way_turns; /* such turns in this direction, in a row; bounded */

    struct net_receiver_statistics received;
    struct net_transmitter_statistics transmitted;
};

void net_init(struct net *net, struct net_port *port, struct rate_limiter *receive_limiter,
              struct rate_limiter *transmit_limiter);

#endif
