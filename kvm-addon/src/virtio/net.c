#include "net.h"

#include <errno.h>
#include <stddef.h>

#include "net_header.h"

/* Turns with frames in one direction, in a row, after which no answer is expected. */
#define ONE_WAY_TURNS_POLLED 8

static struct net *net_of(struct queue_handler *handler)
{
    return (struct net *)((uint8_t *)handler - offsetof(struct net, handler));
}

static bool is_receive_queue(const struct virtqueue *queue)
{
    return queue->index % 2 == 0;
}

/*
 * Watches the descriptor for what the device waits for only. In particular, frames for which there
 * are no chains must not wake the worker, each in turn: they leave the sender too little time, and
 * the guest's vCPU, which should offer chains.
 */
static void source_watch(struct net *net)
{
    bool readable = !net->receiver.starving && !net->receive_gate.closed;
    uint32_t events = EPOLLET | (readable ? (uint32_t)EPOLLIN : 0) |
                      (net->port->blocked ? (uint32_t)EPOLLOUT : 0);
    if (events == net->watched)
        return;
    net->watched = events;
    event_loop_change(net->loop, &net->source, events);
}

static void source_ready(struct event_source *source, uint32_t events)
{
    struct net *net = (struct net *)((uint8_t *)source - offsetof(struct net, source));
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        net->receiver.readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR) && net->port->blocked) {
        net->port->ops->send(net->port, NULL, 0);
        source_watch(net);
    }
}

static bool net_wants(struct queue_handler *handler, const struct virtqueue *queue)
{
    const struct net *net = net_of(handler);
    if (is_receive_queue(queue))
        return net_receiver_wants(&net->receiver) && !net->receive_gate.closed;
    return !net->port->blocked && !net->transmit_gate.closed;
}

/* Charges a gate for the frames and bytes by which the counters have grown. */
struct passed {
    uint64_t frames;
    uint64_t bytes;
};

static unsigned receive_serve(struct net *net, unsigned max)
{
    const struct net_receiver_statistics *counters = &net->received;
    struct passed before = {counters->frames, counters->bytes};
    unsigned done = net_receiver_serve(&net->receiver, rate_gate_allow(&net->receive_gate, max));
    rate_gate_charge(&net->receive_gate, counters->frames - before.frames,
                     counters->bytes - before.bytes);
    source_watch(net);
    return done;
}

static unsigned transmit_serve(struct net *net, struct virtqueue *queue, unsigned max)
{
    const struct net_transmitter_statistics *counters = &net->transmitted;
    struct passed before = {counters->frames, counters->bytes};
    unsigned done =
        net_transmitter_serve(&net->transmitter, queue, rate_gate_allow(&net->transmit_gate, max));
    rate_gate_charge(&net->transmit_gate, counters->frames - before.frames,
                     counters->bytes - before.bytes);
    source_watch(net);
    return done;
}

/*
 * Frames go in one direction only: those who make them, a program of the host or the guest's vCPU,
 * may need the core that polling takes, and more frames gather during a sleep. Polling is for
 * answers, for which the other side waits.
 */
static bool net_waits(struct queue_handler *handler)
{
    return net_of(handler)->one_way_turns > ONE_WAY_TURNS_POLLED;
}

/*
 * Each frame that the host sends to a sleeping worker wakes it, often on the core of the sender,
 * which then waits: few frames are received before the worker sleeps again.
 */
static bool net_gathers(struct queue_handler *handler)
{
    return net_waits(handler) && net_of(handler)->receives_last;
}

static void turns_count(struct net *net, bool receives)
{
    if (net->receives_last != receives)
        net->one_way_turns = 0;
    net->receives_last = receives;
    if (net->one_way_turns <= ONE_WAY_TURNS_POLLED)
        net->one_way_turns++;
}

static unsigned net_serve(struct queue_handler *handler, struct virtqueue *queue, unsigned max)
{
    struct net *net = net_of(handler);
    if (!virtqueue_has_available(queue) && !is_receive_queue(queue))
        return 0;
    unsigned done =
        is_receive_queue(queue) ? receive_serve(net, max) : transmit_serve(net, queue, max);
    if (done > 0)
        turns_count(net, is_receive_queue(queue));
    return done;
}

static void net_stop(struct queue_handler *handler)
{
    net_receiver_stop(&net_of(handler)->receiver);
}

static void net_free(struct queue_handler *handler)
{
    struct net *net = net_of(handler);
    net_receiver_free(&net->receiver);
    net_transmitter_free(&net->transmitter);
}

static struct virtqueue *receive_queue(struct queue_worker *worker)
{
    for (unsigned i = 0; i < worker->options.queue_count; i++) {
        if (is_receive_queue(&worker->queues[i]))
            return &worker->queues[i];
    }
    return NULL;
}

static unsigned largest_queue(const struct queue_worker *worker)
{
    unsigned size = 0;
    for (unsigned i = 0; i < worker->options.queue_count; i++)
        size = worker->queues[i].size > size ? worker->queues[i].size : size;
    return size;
}

static int net_start(struct queue_handler *handler, struct queue_worker *worker)
{
    struct net *net = net_of(handler);
    struct net_port *port = net->port;
    bool mergeable = net_has_feature(net->features, VIRTIO_NET_F_MRG_RXBUF);
    int error = port->ops->start(port, net->features);
    if (error < 0)
        return error;
    net->loop = &worker->loop;
    rate_gate_start(&net->receive_gate, net->receive_limiter, net->loop);
    rate_gate_start(&net->transmit_gate, net->transmit_limiter, net->loop);
    net->source = (struct event_source){.fd = port->fd, .ready = source_ready};
    net->watched = EPOLLIN | EPOLLET | (port->blocked ? (uint32_t)EPOLLOUT : 0);
    error = event_loop_add(net->loop, &net->source, net->watched);
    if (error < 0)
        return error;
    error = net_receiver_init(&net->receiver, port, net->loop, receive_queue(worker), mergeable,
                              &net->received);
    if (error < 0)
        return error;
    error = net_transmitter_init(&net->transmitter, port, net->features, largest_queue(worker),
                                 &net->transmitted);
    if (error < 0)
        net_receiver_free(&net->receiver);
    return error;
}

void net_init(struct net *net, struct net_port *port, struct rate_limiter *receive_limiter,
              struct rate_limiter *transmit_limiter)
{
    *net = (struct net){
        .handler = {.name = "tsvm-net",
                    .sandbox = SANDBOX_NET,
                    .start = net_start,
                    .free = net_free,
                    .serve = net_serve,
                    .wants = net_wants,
                    .waits = net_waits,
                    .gathers = net_gathers,
                    .stop = net_stop},
        .port = port,
        .receive_limiter = receive_limiter,
        .transmit_limiter = transmit_limiter,
    };
}
