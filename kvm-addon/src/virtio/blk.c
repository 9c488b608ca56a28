#include "blk.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

/* A queue and its requests: as many as chains can be in flight. */
struct blk_queue {
    struct blk *blk;
    struct virtqueue *virtqueue;
    struct blk_request *free;
    uint8_t *requests; /* in one allocation, whose pages cost nothing until used */
    unsigned used;     /* how many ever were; the others have not been written yet */
};

static struct blk *blk_of(struct queue_handler *handler)
{
    return (struct blk *)((uint8_t *)handler - offsetof(struct blk, handler));
}

static void request_release(struct blk_request *request)
{
    request->next_free = request->queue->free;
    request->queue->free = request;
}

static void request_count(struct blk_statistics *statistics, const struct blk_request *request)
{
    switch (request->disk.op) {
    case DISK_READ:
        counter_add(&statistics->reads, 1);
        counter_add(&statistics->read_bytes, request->disk.length);
        break;
    case DISK_WRITE:
        counter_add(&statistics->writes, 1);
        counter_add(&statistics->written_bytes, request->disk.length);
        break;
    case DISK_FLUSH:
        counter_add(&statistics->flushes, 1);
        break;
    default:
        counter_add(&statistics->discards, 1);
    }
}

/* Returns a request to the driver. */
static void request_complete(struct blk_request *request, uint8_t status)
{
    struct blk_queue *queue = request->queue;
    uint32_t written = 0;
    if (request->status) {
        *request->status = status;
        /* Of a failed read, nobody knows how much was written: claim the status alone. */
        written = status == VIRTIO_BLK_S_OK ? request->data_written + 1 : 1;
    }
    if (status != VIRTIO_BLK_S_OK)
        counter_add(&queue->blk->statistics.errors, 1);
    virtqueue_push(queue->virtqueue, request->head, written);
    request_release(request);
}

static void disk_request_done(struct disk_request *disk, int error)
{
    struct blk_request *request =
        (struct blk_request *)((uint8_t *)disk - offsetof(struct blk_request, disk));
    if (error == 0)
        request_count(&request->queue->blk->statistics, request);
    request_complete(request, error == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
}

static size_t request_stride(const struct blk_queue *queue)
{
    return sizeof(struct blk_request) + queue->virtqueue->size * sizeof(struct iovec);
}

/* The first of the free requests, or NULL. */
static struct blk_request *request_find(struct blk_queue *queue)
{
    if (!queue->free && queue->used < queue->virtqueue->size) {
        size_t offset = queue->used++ * request_stride(queue);
        struct blk_request *request = (struct blk_request *)(queue->requests + offset);
        request->queue = queue;
        request->disk.done = disk_request_done;
        request_release(request);
    }
    return queue->free;
}

static bool blk_wants(struct queue_handler *handler, const struct virtqueue *virtqueue)
{
    (void)virtqueue;
    return !blk_of(handler)->gate.closed;
}

static unsigned blk_serve(struct queue_handler *handler, struct virtqueue *virtqueue, unsigned max)
{
    struct blk *blk = blk_of(handler);
    struct blk_queue *queue = &blk->queues[virtqueue - blk->first_queue];
    unsigned taken = 0;
    uint64_t bytes = 0;
    if (!virtqueue_has_available(virtqueue))
        return 0;
    max = rate_gate_allow(&blk->gate, max);
    while (taken < max && virtqueue_has_available(virtqueue)) {
        /* There is one, or the queue has as many chains in flight as it may: pop then says so. */
        struct blk_request *request = request_find(queue);
        struct virtqueue_chain chain;
        if (virtqueue_pop(virtqueue, request ? request->iov : NULL, &chain) <= 0)
            break;
        queue->free = request->next_free;
        taken++;
        int status = blk_request_parse(request, &chain, &blk->limits);
        if (status != BLK_REQUEST_TO_DISK) {
            request_complete(request, (uint8_t)status);
            continue;
        }
        bytes += iov_span_bytes(&request->disk.buffers);
        disk_submit(&blk->session, &request->disk);
    }
    rate_gate_charge(&blk->gate, taken, bytes);
    return taken;
}

static unsigned blk_exchange(struct queue_handler *handler)
{
    return disk_session_exchange(&blk_of(handler)->session);
}

static bool blk_has_answers(struct queue_handler *handler)
{
    return disk_session_has_answers(&blk_of(handler)->session);
}

static bool blk_waits(struct queue_handler *handler)
{
    return blk_of(handler)->session.unanswered > 0;
}

static void blk_free(struct queue_handler *handler)
{
    struct blk *blk = blk_of(handler);
    for (unsigned i = 0; i < blk->queue_count; i++)
        free(blk->queues[i].requests);
    free(blk->queues);
    blk->queues = NULL;
    blk->queue_count = 0;
}

static int queue_start(struct blk_queue *queue)
{
    queue->requests = calloc(queue->virtqueue->size, request_stride(queue));
    return queue->requests ? 0 : -ENOMEM;
}

static int blk_start(struct queue_handler *handler, struct queue_worker *worker)
{
    struct blk *blk = blk_of(handler);
    unsigned count = worker->options.queue_count;
    disk_session_init(&blk->session, blk->disk, worker->options.engine, &worker->loop);
    rate_gate_start(&blk->gate, blk->limiter, &worker->loop);
    blk->first_queue = worker->queues;
    blk->queue_count = count;
    blk->queues = calloc(count, sizeof *blk->queues);
    if (!blk->queues)
        blk->queue_count = 0;
    int error = blk->queues ? 0 : -ENOMEM;
    for (unsigned i = 0; i < count && error == 0; i++) {
        blk->queues[i] = (struct blk_queue){.blk = blk, .virtqueue = &worker->queues[i]};
        error = queue_start(&blk->queues[i]);
    }
    if (error < 0)
        blk_free(handler);
    return error;
}

void blk_init(struct blk *blk, struct disk *disk, const struct blk_limits *limits,
              struct rate_limiter *limiter)
{
    *blk = (struct blk){
        .handler = {.name = "tsvm-blk",
                    .sandbox = SANDBOX_BLOCK,
                    .start = blk_start,
                    .free = blk_free,
                    .serve = blk_serve,
                    .wants = blk_wants,
                    .exchange = blk_exchange,
                    .has_answers = blk_has_answers,
                    .waits = blk_waits,
                    .serves_kicks = true},
        .disk = disk,
        .limits = *limits,
        .limiter = limiter,
    };
}
