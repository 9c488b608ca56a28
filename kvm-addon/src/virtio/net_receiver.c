#include "net_receiver.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../backend/net_frame.h"
#include "../util/iov.h"

/* Number of entries for one read: IOV_MAX, less one for the overflow buffer. */
#define READ_IOVS_MAX 1023u
/* Bytes staged for a frame of unknown length after small frames: an Ethernet frame of the usual
 * size. */
#define EXPECTED_BYTES_MIN 1536u
/* Buffers of a chain that a frame of a batch is read into, and one for the rest of the frame. */
#define BATCH_IOVS 4u
/* Time for which a frame waits for a driver that has not made enough buffers available. */
#define STARVED_NS 20000000u

static void next_skip(struct net_receiver *receiver)
{
    if (receiver->backlog.count > 0)
        net_backlog_take(&receiver->backlog, NULL);
    else
        receiver->port->ops->skip(receiver->port);
}

static void starved_expired(struct event_timer *timer)
{
    struct net_receiver *receiver =
        (struct net_receiver *)((uint8_t *)timer - offsetof(struct net_receiver, starved));
    if (receiver->pending_bytes > 0)
        receiver->pending_bytes = 0;
    else
        next_skip(receiver);
    receiver->readable = true; /* the worker has to look: it does not watch the port meanwhile */
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
        .batch = NET_READS_MAX,
        .starved = {.expired = starved_expired},
    };
    receiver->staged = calloc(size, sizeof *receiver->staged);
    receiver->iov = calloc(receiver->iov_max, sizeof *receiver->iov);
    receiver->spill = malloc(NET_MESSAGE_BYTES_MAX);
    bool batches = port->ops->receive_batch && mergeable;
    if ((size > 0 && !receiver->staged) || !receiver->iov || !receiver->spill ||
        (batches && net_backlog_init(&receiver->backlog) < 0)) {
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
    net_backlog_free(&receiver->backlog);
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
    uint64_t bytes = net_backlog_bytes(&receiver->backlog);
    int known = bytes > 0 ? (int)(bytes - NET_HEADER_BYTES) : port->ops->peek(port);
    if (known < 0)
        return known;
    bytes = known > 0 ? NET_HEADER_BYTES + (uint64_t)known : receiver->expected;
    if (chains_stage(receiver, bytes))
        return 1;
    /* A frame of unknown length may fit. Otherwise its rest goes to the overflow buffer. */
    if (known == 0 && receiver->staged_bytes >= NET_HEADER_BYTES)
        return 1;
    if (!is_too_long(receiver))
        return 0;
    next_skip(receiver);
    frame_drop(receiver);
    return -EMSGSIZE;
}

/* After small frames, few chains are staged; after a large one, enough for the largest frame. */
static void expected_adapt(struct net_receiver *receiver, uint32_t bytes)
{
    if (bytes > EXPECTED_BYTES_MIN)
        receiver->expected = NET_MESSAGE_BYTES_MAX;
    else if (receiver->expected > EXPECTED_BYTES_MIN)
        receiver->expected -= receiver->expected / 8;
    if (receiver->expected < EXPECTED_BYTES_MIN)
        receiver->expected = EXPECTED_BYTES_MIN;
}

static ssize_t next_take(struct net_receiver *receiver, struct iovec *iov, unsigned count)
{
    uint32_t bytes = net_backlog_bytes(&receiver->backlog);
    const struct iov_span span = {.iov = iov, .count = count};
    if (bytes == 0)
        return receiver->port->ops->receive(receiver->port, iov, count);
    net_backlog_take(&receiver->backlog, &span);
    return bytes;
}

/* Reads a frame into the staged chains. Returns 1, 0 (it waits for chains), or -errno. */
static int frame_read(struct net_receiver *receiver)
{
    unsigned count = receiver->iov_count < READ_IOVS_MAX ? receiver->iov_count : READ_IOVS_MAX;
    uint64_t direct = 0;
    for (unsigned i = 0; i < count && direct < NET_MESSAGE_BYTES_MAX; i++)
        direct += receiver->iov[i].iov_len;
    /* The entry after the staged ones is free; `iov_count` never reaches the last. */
    struct iovec kept = receiver->iov[count];
    receiver->iov[count] =
        (struct iovec){.iov_base = receiver->spill, .iov_len = NET_MESSAGE_BYTES_MAX};
    ssize_t got = next_take(receiver, receiver->iov, count + 1);
    receiver->iov[count] = kept;
    if (got < 0)
        return (int)got;
    if (got < NET_HEADER_BYTES + NET_FRAME_BYTES_MIN)
        return 1;
    expected_adapt(receiver, (uint32_t)got);
    receiver->batch = receiver->batch < 2 ? 2 : receiver->batch;
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

/* Whether frames are small, and a chain each can be read into. */
static bool batch_is_possible(const struct net_receiver *receiver)
{
    return receiver->backlog.slots && receiver->batch > 1 &&
           receiver->expected == EXPECTED_BYTES_MIN && receiver->pending_bytes == 0 &&
           receiver->backlog.count == 0;
}

/* A batch of frames to be read, into a staged chain each. */
struct batch {
    struct net_read reads[NET_READS_MAX];
    struct iovec iov[NET_READS_MAX][BATCH_IOVS];
    unsigned count;
};

static void batch_prepare(struct net_receiver *receiver, struct batch *batch, unsigned max)
{
    unsigned first = 0; /* of the next chain's buffers */
    unsigned count = max < receiver->batch ? max : receiver->batch;
    for (batch->count = 0; batch->count < count; batch->count++) {
        unsigned i = batch->count;
        if (i == receiver->staged_count && !chain_stage(receiver))
            break;
        const struct net_staged *chain = &receiver->staged[i];
        if (chain->bytes < EXPECTED_BYTES_MIN || chain->iov_count >= BATCH_IOVS)
            break;
        memcpy(batch->iov[i], receiver->iov + first, chain->iov_count * sizeof *receiver->iov);
        net_backlog_extend(&receiver->backlog, i, chain->bytes, &batch->iov[i][chain->iov_count]);
        batch->reads[i] =
            (struct net_read){.iov = batch->iov[i], .count = chain->iov_count + 1u, .result = 0};
        first += chain->iov_count;
    }
}

static bool is_frame(const struct net_read *read)
{
    return read->result >= NET_HEADER_BYTES + NET_FRAME_BYTES_MIN;
}

/* Delivers the frames that are in place, and keeps those after them. Returns their number. */
static unsigned batch_deliver(struct net_receiver *receiver, const struct batch *batch)
{
    unsigned delivered = 0, placed = 0;
    while (placed < batch->count && is_frame(&batch->reads[placed]) &&
           (uint64_t)batch->reads[placed].result <= receiver->staged[placed].bytes)
        placed++;
    for (unsigned i = placed; i < batch->count; i++) {
        const struct net_read *read = &batch->reads[i];
        const struct iov_span direct = {.iov = (struct iovec *)read->iov, .count = read->count - 1};
        if (is_frame(read))
            net_backlog_add(&receiver->backlog, i, &direct, (uint32_t)read->result);
    }
    for (; delivered < placed; delivered++)
        frame_deliver(receiver, (uint32_t)batch->reads[delivered].result);
    return delivered;
}

/* Receives up to `max` frames. Returns their number, or as frame_receive() does. */
static int frames_receive(struct net_receiver *receiver, unsigned max)
{
    struct batch batch = {.count = 0};
    unsigned tried = 0, got = 0;
    if (batch_is_possible(receiver))
        batch_prepare(receiver, &batch, max);
    if (batch.count > 1)
        tried = receiver->port->ops->receive_batch(receiver->port, batch.reads, batch.count);
    if (tried == 0)
        return frame_receive(receiver);
    batch.count = tried;
    for (unsigned i = 0; i < tried; i++)
        got += batch.reads[i].result >= 0;
    receiver->batch = got < tried ? got + 1 : 2 * tried;
    if (receiver->batch > NET_READS_MAX)
        receiver->batch = NET_READS_MAX;
    receiver->readable = batch.reads[tried - 1].result >= 0;
    unsigned delivered = batch_deliver(receiver, &batch);
    if (delivered > 0)
        return (int)delivered;
    return receiver->backlog.count > 0 ? frame_receive(receiver) : receiver->readable ? 1 : -EAGAIN;
}

static void backlog_drop(struct net_receiver *receiver)
{
    for (; receiver->backlog.count > 0; frame_drop(receiver))
        net_backlog_take(&receiver->backlog, NULL);
}

/* The link is down: incoming frames are dropped. */
static unsigned frames_discard(struct net_receiver *receiver, unsigned max)
{
    struct net_port *port = receiver->port;
    unsigned done = 0;
    backlog_drop(receiver);
    for (; done < max; done++) {
        const struct iovec spill = {.iov_base = receiver->spill, .iov_len = NET_MESSAGE_BYTES_MAX};
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
    receiver->starving = false;
    if (!net_port_is_up(receiver->port)) {
        receiver->pending_bytes = 0;
        return frames_discard(receiver, max);
    }
    unsigned done = 0;
    while (done < max && !receiver->queue->broken && net_receiver_wants(receiver)) {
        int result = frames_receive(receiver, max - done);
        if (result < 0)
            receiver->readable = false;
        receiver->starving = result == 0;
        if (result <= 0)
            break;
        done += (unsigned)result;
    }
    return done;
}

void net_receiver_stop(struct net_receiver *receiver)
{
    if (receiver->starved.set)
        event_loop_cancel_timer(receiver->loop, &receiver->starved);
    if (receiver->pending_bytes > 0)
        frame_drop(receiver);
    backlog_drop(receiver);
    for (; receiver->staged_count > 0; receiver->staged_count--)
        virtqueue_unpop(receiver->queue);
    receiver->staged_bytes = 0;
    receiver->iov_count = 0;
}
