#include "net_receiver.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../backend/net_frame.h"
#include "../util/iov.h"

#define MESSAGE_BYTES_MAX (NET_HEADER_BYTES + NET_FRAME_BYTES_MAX)
/* Number of entries for one read: IOV_MAX, less one for the overflow buffer. */
#define READ_IOVS_MAX 1023u
/* Bytes staged for a frame of unknown length after small frames: an Ethernet frame of the usual
 * size. */
#define EXPECTED_BYTES_MIN 1536u
/* Time for which a frame waits for a driver that has not made enough buffers available. */
#define STARVED_NS 20000000u

static void starved_expired(struct event_timer *timer)
{
    struct net_receiver *receiver =
        (struct net_receiver *)((uint8_t *)timer - offsetof(struct net_receiver, starved));
    if (receiver->pending_bytes > 0)
        receiver->pending_bytes = 0;
    else
        receiver->port->ops->skip(receiver->port);
    counter_add(&receiver->statistics->dropped, 1);
}

int net_receiver_init(struct net_receiver *receiver, struct net_port *port, struct event_loop *loop,
                      struct virtqueue *queue, bool mergeable,
                      struct net_receiver_statistics *statistics)
{
    unsigned size = queue ? queue->size : 0;
    *receiver = (struct net_receiver){
        .port = port,
        .loop = loop,
        .statistics = statistics,
        .queue = queue,
        .mergeable = mergeable,
        .readable = true,
        .iov_max = READ_IOVS_MAX + size + 1,
        .expected = EXPECTED_BYTES_MIN,
        .starved = {.expired = starved_expired},
    };
    receiver->staged = calloc(size, sizeof *receiver->staged);
    receiver->iov = calloc(receiver->iov_max, sizeof *receiver->iov);
    receiver->spill = malloc(MESSAGE_BYTES_MAX);
    if ((size > 0 && !receiver->staged) || !receiver->iov || !receiver->spill) {
        net_receiver_free(receiver);
        return -ENOMEM;
    }
    return 0;
}

void net_receiver_free(struct net_receiver *receiver)
{
    free(receiver->staged);
    free(receiver->iov);
    free(receiver->spill);
    receiver->staged = NULL;
    receiver->iov = NULL;
    receiver->spill = NULL;
}

/* Stages one more chain. Returns false if there is none or no use for it. */
static bool chain_stage(struct net_receiver *receiver)
{
    struct virtqueue_chain chain;
    if (receiver->staged_count > 0 &&
        (!receiver->mergeable || receiver->iov_count >= READ_IOVS_MAX))
        return false;
    struct iovec *iov = receiver->iov + receiver->iov_count;
    if (virtqueue_pop(receiver->queue, iov, &chain) <= 0)
        return false;
    /* 5.1.6.3: buffers are device-writable. Device-readable parts are ignored. */
    if (chain.readable_count > 0)
        memmove(iov, iov + chain.readable_count, chain.writable_count * sizeof *iov);
    receiver->staged[receiver->staged_count++] = (struct net_staged){
        .head = chain.head,
        .iov_count = (uint16_t)chain.writable_count,
        .bytes = chain.writable_bytes,
    };
    receiver->iov_count += chain.writable_count;
    receiver->staged_bytes += chain.writable_bytes;
    return true;
}

/* True if `bytes` fit in the staged chains. */
static bool chains_stage(struct net_receiver *receiver, uint64_t bytes)
{
    while (receiver->staged_bytes < bytes) {
        if (!chain_stage(receiver))
            return false;
    }
    return true;
}

/* The frame would not fit even in all of the driver's chains. */
static bool is_too_long(const struct net_receiver *receiver)
{
    return receiver->staged_count > 0 &&
           (!receiver->mergeable || receiver->iov_count >= READ_IOVS_MAX ||
            receiver->staged_count == receiver->queue->size);
}

/* Removes the first `count` staged chains, which have been returned. */
static void staged_shift(struct net_receiver *receiver, unsigned count, unsigned iovs)
{
    receiver->staged_count -= count;
    receiver->iov_count -= iovs;
    memmove(receiver->staged, receiver->staged + count,
            receiver->staged_count * sizeof *receiver->staged);
    memmove(receiver->iov, receiver->iov + iovs, receiver->iov_count * sizeof *receiver->iov);
}

/* Returns the chains with a frame of `bytes`, including its header, to the driver. */
static void frame_deliver(struct net_receiver *receiver, uint32_t bytes)
{
    unsigned count = 0, iovs = 0;
    uint64_t room = 0;
    while (room < bytes) {
        room += receiver->staged[count].bytes;
        iovs += receiver->staged[count++].iov_count;
    }
    const struct iov_span span = {.iov = receiver->iov, .count = iovs};
    /* 5.1.6.4.1: "The device MUST set num_buffers", to 1 if buffers are not merged. */
    uint16_t num_buffers = (uint16_t)count;
    iov_copy_to_at(&span, offsetof(struct virtio_net_hdr_v1, num_buffers), &num_buffers,
                   sizeof num_buffers);
    uint32_t left = bytes;
    for (unsigned i = 0; i < count; i++) {
        const struct net_staged *chain = &receiver->staged[i];
        uint32_t written = left < chain->bytes ? left : chain->bytes;
        virtqueue_push(receiver->queue, chain->head, written);
        left -= written;
    }
    receiver->staged_bytes -= room;
    staged_shift(receiver, count, iovs);
    counter_add(&receiver->statistics->frames, 1);
    counter_add(&receiver->statistics->bytes, bytes - NET_HEADER_BYTES);
}

static void frame_drop(struct net_receiver *receiver)
{
    receiver->pending_bytes = 0;
    counter_add(&receiver->statistics->dropped, 1);
}

/* Delivers the waiting frame. Returns false if it must wait longer. */
static bool pending_deliver(struct net_receiver *receiver)
{
    uint32_t bytes = receiver->pending_bytes, direct = receiver->pending_direct;
    if (!chains_stage(receiver, bytes)) {
        if (!is_too_long(receiver))
            return false;
        frame_drop(receiver);
        return true;
    }
    const struct iov_span span = {.iov = receiver->iov, .count = receiver->iov_count};
    iov_copy_to_at(&span, direct, receiver->spill, bytes - direct);
    receiver->pending_bytes = 0;
    frame_deliver(receiver, bytes);
    return true;
}

/* Stages chains for the next frame. Returns 1, 0 (wait for chains), or -errno of the port. */
static int frame_prepare(struct net_receiver *receiver)
{
    struct net_port *port = receiver->port;
    int known = port->ops->peek(port);
    if (known < 0)
        return known;
    uint64_t bytes = known > 0 ? NET_HEADER_BYTES + (uint64_t)known : receiver->expected;
    if (chains_stage(receiver, bytes))
        return 1;
    /* A frame of unknown length may fit. Otherwise its rest goes to the overflow buffer. */
    if (known == 0 && receiver->staged_bytes >= NET_HEADER_BYTES)
        return 1;
    if (!is_too_long(receiver))
        return 0;
    port->ops->skip(port);
    frame_drop(receiver);
    return -EMSGSIZE;
}

/* After small frames, few chains are staged; after a large one, enough for the largest frame. */
static void expected_adapt(struct net_receiver *receiver, uint32_t bytes)
{
    if (bytes > EXPECTED_BYTES_MIN)
        receiver->expected = MESSAGE_BYTES_MAX;
    else if (receiver->expected > EXPECTED_BYTES_MIN)
        receiver->expected -= receiver->expected / 8;
    if (receiver->expected < EXPECTED_BYTES_MIN)
        receiver->expected = EXPECTED_BYTES_MIN;
}

/* Reads a frame into the staged chains. Returns 1, 0 (it waits for chains), or -errno. */
static int frame_read(struct net_receiver *receiver)
{
    struct net_port *port = receiver->port;
    unsigned count = receiver->iov_count < READ_IOVS_MAX ? receiver->iov_count : READ_IOVS_MAX;
    uint64_t direct = 0;
    for (unsigned i = 0; i < count && direct < MESSAGE_BYTES_MAX; i++)
        direct += receiver->iov[i].iov_len;
    /* The entry after the staged ones is free; `iov_count` never reaches the last. */
    struct iovec kept = receiver->iov[count];
    receiver->iov[count] =
        (struct iovec){.iov_base = receiver->spill, .iov_len = MESSAGE_BYTES_MAX};
    ssize_t got = port->ops->receive(port, receiver->iov, count + 1);
    receiver->iov[count] = kept;
    if (got < 0)
        return (int)got;
    if (got < NET_HEADER_BYTES + NET_FRAME_BYTES_MIN)
        return 1;
    expected_adapt(receiver, (uint32_t)got);
    if ((uint64_t)got <= direct) {
        frame_deliver(receiver, (uint32_t)got);
        return 1;
    }
    receiver->pending_bytes = (uint32_t)got;
    receiver->pending_direct = (uint32_t)direct;
    return pending_deliver(receiver) ? 1 : 0;
}

/* Receives a frame. Returns 1, 0 (there is none, or it waits for chains), or -errno. */
static int frame_receive(struct net_receiver *receiver)
{
    int result = receiver->pending_bytes > 0 ? pending_deliver(receiver) : -ENOENT;
    if (result == -ENOENT) {
        result = frame_prepare(receiver);
        if (result == -EMSGSIZE)
            return 1;
        if (result > 0)
            result = frame_read(receiver);
    }
    if (result == 0 && receiver->staged_count > 0 && !receiver->starved.set)
        return event_loop_set_timer(receiver->loop, &receiver->starved, STARVED_NS);
    if (result > 0 && receiver->starved.set)
        event_loop_cancel_timer(receiver->loop, &receiver->starved);
    return result;
}

/* The link is down: incoming frames are dropped. */
static unsigned frames_discard(struct net_receiver *receiver, unsigned max)
{
    struct net_port *port = receiver->port;
    unsigned done = 0;
    for (; done < max; done++) {
        const struct iovec spill = {.iov_base = receiver->spill, .iov_len = MESSAGE_BYTES_MAX};
        if (port->ops->receive(port, &spill, 1) < 0) {
            receiver->readable = false;
            break;
        }
        counter_add(&receiver->statistics->dropped, 1);
    }
    return done;
}

unsigned net_receiver_serve(struct net_receiver *receiver, unsigned max)
{
    if (!net_port_is_up(receiver->port)) {
        receiver->pending_bytes = 0;
        return frames_discard(receiver, max);
    }
    unsigned done = 0;
    while (done < max && !receiver->queue->broken) {
        int result = frame_receive(receiver);
        if (result < 0)
            receiver->readable = false;
        if (result <= 0)
            break;
        done++;
    }
    return done;
}

void net_receiver_stop(struct net_receiver *receiver)
{
    if (receiver->starved.set)
        event_loop_cancel_timer(receiver->loop, &receiver->starved);
    if (receiver->pending_bytes > 0)
        frame_drop(receiver);
    for (; receiver->staged_count > 0; receiver->staged_count--)
        virtqueue_unpop(receiver->queue);
    receiver->staged_bytes = 0;
    receiver->iov_count = 0;
}
