#include "rng.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/random.h>

static struct rng *rng_of(struct queue_handler *handler)
{
    return (struct rng *)((uint8_t *)handler - offsetof(struct rng, handler));
}

/* Fills a buffer. Returns the number of bytes, which is less than its length only if the host
 * fails. */
static size_t buffer_fill(const struct iovec *buffer, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = getrandom((uint8_t *)buffer->iov_base + done, bytes - done, 0);
        if (got < 0 && errno != EINTR)
            break;
        done += got > 0 ? (size_t)got : 0;
    }
    return done;
}

/* 5.4.6.2: "The device MUST place one or more random bytes into the buffer", in it only. */
static uint32_t chain_fill(const struct iovec *iov, const struct virtqueue_chain *chain)
{
    const struct iovec *writable = iov + chain->readable_count;
    uint32_t total = 0;
    for (unsigned i = 0; i < chain->writable_count && total < RNG_REQUEST_BYTES_MAX; i++) {
        size_t left = RNG_REQUEST_BYTES_MAX - total;
        size_t part = writable[i].iov_len < left ? writable[i].iov_len : left;
        size_t got = buffer_fill(&writable[i], part);
        total += (uint32_t)got;
        if (got < part)
            break;
    }
    return total;
}

static unsigned rng_serve(struct queue_handler *handler, struct virtqueue *queue, unsigned max)
{
    struct rng *rng = rng_of(handler);
    struct virtqueue_chain chain;
    unsigned taken = 0;
    for (; taken < max && virtqueue_pop(queue, rng->iov, &chain) > 0; taken++) {
        uint32_t bytes = chain_fill(rng->iov, &chain);
        counter_add(&rng->statistics.requests, 1);
        counter_add(&rng->statistics.bytes, bytes);
        virtqueue_push(queue, chain.head, bytes);
    }
    return taken;
}

static void rng_free(struct queue_handler *handler)
{
    struct rng *rng = rng_of(handler);
    free(rng->iov);
    rng->iov = NULL;
}

static int rng_start(struct queue_handler *handler, struct queue_worker *worker)
{
    struct rng *rng = rng_of(handler);
    unsigned size_max = 0;
    for (unsigned i = 0; i < worker->options.queue_count; i++)
        size_max = worker->queues[i].size > size_max ? worker->queues[i].size : size_max;
    rng->iov = calloc(size_max, sizeof *rng->iov);
    return rng->iov ? 0 : -ENOMEM;
}

void rng_init(struct rng *rng)
{
    *rng = (struct rng){
        .handler = {.name = "tsvm-rng",
                    .sandbox = SANDBOX_QUEUE,
                    .start = rng_start,
                    .free = rng_free,
                    .serve = rng_serve},
    };
}
