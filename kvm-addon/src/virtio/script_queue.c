#include "script_queue.h"

#include <errno.h>
#include <stdlib.h>

/* A queue and its chains, as many as can be in flight. */
struct script_virtqueue {
    struct virtqueue *virtqueue;
    struct script_chain *free;
    struct script_chain *newest; /* in flight */
    uint8_t *chains;             /* one allocation, whose pages are only allocated on use */
};

static struct script_queue *script_of(struct queue_handler *handler)
{
    return (struct script_queue *)((uint8_t *)handler - offsetof(struct script_queue, handler));
}

static void list_append(struct script_chain_list *list, struct script_chain *chain)
{
    chain->next = NULL;
    if (list->first)
        list->last->next = chain;
    else
        __atomic_store_n(&list->first, chain, __ATOMIC_RELAXED); /* see script_has_answers */
    list->last = chain;
}

static struct script_chain *list_take(struct script_chain_list *list)
{
    struct script_chain *chain = list->first;

    if (chain)
        __atomic_store_n(&list->first, chain->next, __ATOMIC_RELAXED);
    return chain;
}

static struct script_chain *list_find(const struct script_chain_list *list, uint64_t id)
{
    struct script_chain *chain = list->first;

    while (chain && chain->id != id)
        chain = chain->next;
    return chain;
}

/* Removes a chain from the list that contains it. */
static void list_remove(struct script_chain_list *list, struct script_chain *chain)
{
    struct script_chain *before = NULL;

    for (struct script_chain *at = list->first; at != chain; at = at->next)
        before = at;
    if (before)
        before->next = chain->next;
    else
        list->first = chain->next;
    if (list->last == chain)
        list->last = before;
}

/* Ends the flight of a chain. */
static void chain_release(struct script_chain *chain)
{
    struct script_virtqueue *queue = chain->queue;

    if (chain->older)
        chain->older->newer = chain->newer;
    if (chain->newer)
        chain->newer->older = chain->older;
    else
        queue->newest = chain->older;
    chain->next = queue->free;
    queue->free = chain;
}

/*
 * Returns a chain to the driver. The device's position in the available ring is a single number, so
 * an older chain cannot be made available again after that. It is returned as well, now if the
 * script has given it back already, otherwise later.
 */
static void chain_return(struct script_chain *chain)
{
    struct script_chain *older = chain->older;

    virtqueue_push(chain->queue->virtqueue, chain->chain.head, chain->written);
    chain_release(chain);
    while (older && !older->overtaken) {
        struct script_chain *next = older->older;
        older->overtaken = true;
        if (older->rests) {
            virtqueue_push(older->queue->virtqueue, older->chain.head, 0);
            chain_release(older);
        }
        older = next;
    }
}

/* Makes the newest chains available again, as far as the script has given them back. */
static void chains_unpop(struct script_virtqueue *queue)
{
    while (queue->newest && queue->newest->rests) {
        virtqueue_unpop(queue->virtqueue);
        chain_release(queue->newest);
    }
}

static void chain_take_answer(struct script_chain *chain)
{
    struct script_virtqueue *queue = chain->queue;

    if (!chain->given_back || chain->overtaken)
        chain_return(chain);
    else
        chain->rests = true;
    chains_unpop(queue);
}

static bool script_has_answers(struct queue_handler *handler)
{
    /* A hint, read without the lock. If it is missed, script_queue_send() ends the sleep. */
    return __atomic_load_n(&script_of(handler)->answered.first, __ATOMIC_RELAXED) != NULL;
}

static unsigned script_exchange(struct queue_handler *handler)
{
    struct script_queue *script = script_of(handler);
    struct script_chain_list answered = {0};
    struct script_chain *chain;
    unsigned count = 0;

    if (!script->arriving.first && !script_has_answers(handler))
        return 0;
    bool arrive = script->arriving.first != NULL;
    pthread_mutex_lock(&script->lock);
    answered = script->answered;
    __atomic_store_n(&script->answered.first, NULL, __ATOMIC_RELAXED);
    while ((chain = list_take(&script->arriving)) != NULL) {
        chain->id = script->next_id++;
        list_append(&script->arrived, chain);
    }
    pthread_mutex_unlock(&script->lock);
    if (arrive)
        wake_notify(&script->wake);
    while ((chain = list_take(&answered)) != NULL) {
        count++;
        script->unanswered--;
        chain_take_answer(chain);
    }
    return count;
}

static bool script_waits(struct queue_handler *handler)
{
    return script_of(handler)->unanswered > 0;
}

static bool script_wants(struct queue_handler *handler, const struct virtqueue *queue)
{
    return __atomic_load_n(&script_of(handler)->wanted[queue->index], __ATOMIC_RELAXED) > 0;
}

/* The script wants one chain less. */
static void wanted_count(struct script_queue *script, unsigned index)
{
    pthread_mutex_lock(&script->lock);
    uint32_t wanted = script->wanted[index];
    if (wanted != SCRIPT_QUEUE_ALL && wanted > 0)
        __atomic_store_n(&script->wanted[index], wanted - 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&script->lock);
}

static unsigned script_serve(struct queue_handler *handler, struct virtqueue *virtqueue,
                             unsigned max)
{
    struct script_queue *script = script_of(handler);
    struct script_virtqueue *queue = &script->queues[virtqueue - script->first_queue];
    unsigned taken = 0;

    while (taken < max && script_wants(handler, virtqueue) && virtqueue_has_available(virtqueue)) {
        /* A chain is free, unless the queue has too many in flight, which pop then reports. */
        struct script_chain *chain = queue->free;
        struct virtqueue_chain none;
        if (virtqueue_pop(virtqueue, chain ? chain->iov : NULL, chain ? &chain->chain : &none) <= 0)
            break;
        queue->free = chain->next;
        chain->written = 0;
        chain->given_back = chain->overtaken = chain->rests = false;
        chain->older = queue->newest;
        chain->newer = NULL;
        if (queue->newest)
            queue->newest->newer = chain;
        queue->newest = chain;
        list_append(&script->arriving, chain);
        script->unanswered++;
        wanted_count(script, virtqueue->index);
        taken++;
    }
    counter_add(&script->chains, taken);
    return taken;
}

static void script_free(struct queue_handler *handler)
{
    struct script_queue *script = script_of(handler);

    for (unsigned i = 0; i < script->queue_count; i++)
        free(script->queues[i].chains);
    free(script->queues);
    script->queues = NULL;
    script->queue_count = 0;
    pthread_mutex_lock(&script->lock);
    script->loop = NULL;
    pthread_mutex_unlock(&script->lock);
}

static int chains_allocate(struct script_virtqueue *queue)
{
    unsigned size = queue->virtqueue->size;
    size_t stride = sizeof(struct script_chain) + size * sizeof(struct iovec);

    queue->chains = calloc(size, stride);
    if (!queue->chains)
        return -ENOMEM;
    for (unsigned i = size; i-- > 0;) {
        struct script_chain *chain = (struct script_chain *)(queue->chains + i * stride);
        chain->queue = queue;
        chain->next = queue->free;
        queue->free = chain;
    }
    return 0;
}

static int script_start(struct queue_handler *handler, struct queue_worker *worker)
{
    struct script_queue *script = script_of(handler);
    unsigned count = worker->options.queue_count;

    for (unsigned i = 0; i < count; i++) {
        if (worker->queues[i].index >= QUEUE_WORKER_QUEUES_MAX)
            return -EINVAL;
    }
    script->queues = calloc(count, sizeof *script->queues);
    if (!script->queues && count > 0)
        return -ENOMEM;
    script->queue_count = count;
    script->first_queue = worker->queues;
    int error = 0;
    for (unsigned i = 0; i < count && error == 0; i++) {
        script->queues[i] = (struct script_virtqueue){.virtqueue = &worker->queues[i]};
        error = chains_allocate(&script->queues[i]);
    }
    if (error < 0) {
        script_free(handler);
        return error;
    }
    pthread_mutex_lock(&script->lock);
    script->loop = &worker->loop;
    pthread_mutex_unlock(&script->lock);
    return 0;
}

void script_queue_init(struct script_queue *script, const char *name, struct wake wake)
{
    *script = (struct script_queue){
        .handler = {.name = name,
                    .sandbox = SANDBOX_QUEUE,
                    .start = script_start,
                    .free = script_free,
                    .serve = script_serve,
                    .wants = script_wants,
                    .exchange = script_exchange,
                    .has_answers = script_has_answers,
                    .waits = script_waits},
        .wake = wake,
        .next_id = 1,
    };
    for (unsigned i = 0; i < QUEUE_WORKER_QUEUES_MAX; i++)
        script->wanted[i] = SCRIPT_QUEUE_ALL;
    pthread_mutex_init(&script->lock, NULL);
}

void script_queue_destroy(struct script_queue *script)
{
    pthread_mutex_destroy(&script->lock);
}

int script_queue_want(struct script_queue *script, unsigned index, uint32_t chains)
{
    if (index >= QUEUE_WORKER_QUEUES_MAX)
        return -EINVAL;
    pthread_mutex_lock(&script->lock);
    __atomic_store_n(&script->wanted[index], chains, __ATOMIC_RELAXED);
    if (script->loop)
        event_loop_wake(script->loop);
    pthread_mutex_unlock(&script->lock);
    return 0;
}

const struct script_chain *script_queue_take(struct script_queue *script)
{
    pthread_mutex_lock(&script->lock);
    struct script_chain *chain = list_take(&script->arrived);
    if (chain)
        list_append(&script->taken, chain);
    pthread_mutex_unlock(&script->lock);
    return chain;
}

uint16_t script_chain_queue(const struct script_chain *chain)
{
    return chain->queue->virtqueue->index;
}

const struct script_chain *script_queue_find(struct script_queue *script, uint64_t id)
{
    pthread_mutex_lock(&script->lock);
    const struct script_chain *chain = list_find(&script->taken, id);
    pthread_mutex_unlock(&script->lock);
    return chain;
}

static void script_answer(struct script_queue *script, struct script_chain *chain)
{
    list_remove(&script->taken, chain);
    list_append(&script->answered, chain);
}

int script_queue_finish(struct script_queue *script, uint64_t id, const void *data, size_t bytes)
{
    int result = -EINVAL;

    pthread_mutex_lock(&script->lock);
    struct script_chain *chain = list_find(&script->taken, id);
    if (chain && bytes <= chain->chain.writable_bytes) {
        struct iov_span writable = {.iov = chain->iov + chain->chain.readable_count,
                                    .count = chain->chain.writable_count};
        iov_copy_to(&writable, data, bytes);
        chain->written = (uint32_t)bytes;
        script_answer(script, chain);
        result = 0;
    }
    pthread_mutex_unlock(&script->lock);
    return result;
}

int script_queue_give_back(struct script_queue *script, uint64_t id)
{
    pthread_mutex_lock(&script->lock);
    struct script_chain *chain = list_find(&script->taken, id);
    if (chain) {
        chain->given_back = true;
        script_answer(script, chain);
    }
    pthread_mutex_unlock(&script->lock);
    return chain ? 0 : -EINVAL;
}

void script_queue_send(struct script_queue *script)
{
    pthread_mutex_lock(&script->lock);
    if (script->loop)
        event_loop_wake(script->loop);
    pthread_mutex_unlock(&script->lock);
}
