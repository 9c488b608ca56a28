#include "net_transmitter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../backend/net_frame.h"
#include "../util/iov.h"
#include "net_header.h"

/* Entries before those of a chain. */
#define ENTRIES_BEFORE 2u
/* Number of entries for the buffers of a batch of frames; the last frame may need more. */
#define BATCH_IOVS 512u

int net_transmitter_init(struct net_transmitter *transmitter, struct net_port *port,
                         uint32_t features, unsigned size,
                         struct net_transmitter_statistics *statistics)
{
    /* Each chain is preceded by an entry for the port, and one for a copy of the frame's start. */
    *transmitter = (struct net_transmitter){.port = port,
                                            .features = features,
                                            .statistics = statistics,
                                            .iov_max = BATCH_IOVS + size + ENTRIES_BEFORE};
    transmitter->iov = calloc(transmitter->iov_max, sizeof *transmitter->iov);
    return transmitter->iov ? 0 : -ENOMEM;
}

void net_transmitter_free(struct net_transmitter *transmitter)
{
    free(transmitter->iov);
    transmitter->iov = NULL;
}

/* Frames taken from a queue, in order. */
struct batch {
    struct net_frame frames[NET_TRANSMIT_BATCH]; /* those that can be sent */
    uint16_t heads[NET_TRANSMIT_BATCH];          /* of all chains */
    bool valid[NET_TRANSMIT_BATCH];
    unsigned frame_count;
    unsigned chain_count;
};

/*
 * Compares the source address of a frame with that of the device, and replaces the start of the
 * frame by the copy that was compared: the driver may change its own meanwhile.
 */
static bool source_check(const struct net_transmitter *transmitter, struct net_frame *frame)
{
    const struct net_port *port = transmitter->port;
    struct iov_span data = {.iov = frame->iov, .count = frame->count};
    if (!port->has_source)
        return true;
    if (!iov_span_take(&data, frame->ethernet, sizeof frame->ethernet))
        return false;
    if (memcmp(frame->ethernet + NET_SOURCE_OFFSET, port->source, sizeof port->source) != 0) {
        counter_add(&transmitter->statistics->spoofed, 1);
        return false;
    }
    frame->iov = data.iov - 1;
    frame->count = data.count + 1;
    *frame->iov = (struct iovec){.iov_base = frame->ethernet, .iov_len = sizeof frame->ethernet};
    return true;
}

/* Turns a chain into a frame. Returns false if it is malformed. */
static bool frame_parse(const struct net_transmitter *transmitter, struct net_frame *frame,
                        struct iovec *iov, const struct virtqueue_chain *chain)
{
    struct iov_span data = {.iov = iov, .count = chain->readable_count};
    if (!iov_span_take(&data, &frame->header, sizeof frame->header))
        return false;
    frame->iov = data.iov;
    frame->count = data.count;
    frame->bytes = chain->readable_bytes - NET_HEADER_BYTES;
    frame->dropped = false;
    return frame->bytes >= NET_FRAME_BYTES_MIN && frame->bytes <= NET_FRAME_BYTES_MAX &&
           frame->count < NET_FRAME_IOVS_MAX &&
           net_header_check(&frame->header, frame->bytes, transmitter->features) &&
           source_check(transmitter, frame);
}

static void batch_take(struct net_transmitter *transmitter, struct batch *batch,
                       struct virtqueue *queue, unsigned max)
{
    unsigned used = 0;
    batch->frame_count = batch->chain_count = 0;
    while (batch->chain_count < max && used < BATCH_IOVS) {
        struct virtqueue_chain chain;
        struct iovec *iov = transmitter->iov + used + ENTRIES_BEFORE;
        if (virtqueue_pop(queue, iov, &chain) <= 0)
            return;
        used += ENTRIES_BEFORE + chain.readable_count;
        unsigned i = batch->chain_count++;
        batch->heads[i] = chain.head;
        batch->valid[i] = frame_parse(transmitter, &batch->frames[batch->frame_count], iov, &chain);
        if (batch->valid[i])
            batch->frame_count++;
    }
}

/* Returns the chains of the first `sent` frames, and those that cannot be sent, to the driver. */
static unsigned batch_finish(struct net_transmitter *transmitter, struct batch *batch,
                             struct virtqueue *queue, unsigned sent)
{
    struct net_transmitter_statistics *statistics = transmitter->statistics;
    uint64_t frames = 0, bytes = 0, dropped = 0;
    unsigned frame = 0, done = 0;
    for (; done < batch->chain_count; done++) {
        if (batch->valid[done]) {
            if (frame == sent)
                break;
            const struct net_frame *current = &batch->frames[frame++];
            frames += current->dropped ? 0 : 1;
            bytes += current->dropped ? 0 : current->bytes;
            dropped += current->dropped ? 1 : 0;
        } else {
            dropped++;
        }
        virtqueue_push(queue, batch->heads[done], 0);
    }
    for (unsigned i = batch->chain_count; i > done; i--)
        virtqueue_unpop(queue);
    counter_add(&statistics->frames, frames);
    counter_add(&statistics->bytes, bytes);
    counter_add(&statistics->dropped, dropped);
    return done;
}

/* Frames that the port accepted, including those that it dropped. */
static unsigned frames_send(struct net_transmitter *transmitter, struct net_frame *frames,
                            unsigned count)
{
    struct net_port *port = transmitter->port;
    int sent = net_port_is_up(port) ? port->ops->send(port, frames, count) : -EPIPE;
    if (sent >= 0)
        return (unsigned)sent;
    for (unsigned i = 0; i < count; i++)
        frames[i].dropped = true;
    return count;
}

unsigned net_transmitter_serve(struct net_transmitter *transmitter, struct virtqueue *queue,
                               unsigned max)
{
    struct batch batch;
    batch_take(transmitter, &batch, queue, max < NET_TRANSMIT_BATCH ? max : NET_TRANSMIT_BATCH);
    if (batch.chain_count == 0)
        return 0;
    unsigned sent =
        batch.frame_count == 0 ? 0 : frames_send(transmitter, batch.frames, batch.frame_count);
    return batch_finish(transmitter, &batch, queue, sent);
}
