/*
 * The queue handler of a device without a data plane in C: its chains go to a script (TypeScript)
 * and come back. For devices with little traffic: a chain costs a wake-up of JavaScript and one of
 * the worker, shared by all that are under way at the time.
 *
 * The worker's thread takes chains and returns them; the script's functions are for the JavaScript
 * thread. A chain is the script's from script_queue_take() until it answers, however long that is.
 */
#ifndef TSVM_SCRIPT_QUEUE_H
#define TSVM_SCRIPT_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../util/counter.h"
#include "../util/iov.h"
#include "../util/wake.h"
#include "queue_worker.h"

/* No limit: the queue is the driver's to fill, as a queue for commands is. */
#define SCRIPT_QUEUE_ALL UINT32_MAX

struct script_virtqueue;

struct script_chain {
    uint64_t id; /* below 2^53; never used twice */
    struct virtqueue_chain chain;
    struct script_virtqueue *queue;
    uint32_t written;          /* bytes that the script has put into the writable part */
    bool given_back;           /* the script's answer: not used */
    struct script_chain *next; /* in a list of the handler, or of free ones */
    /* The worker's thread's. */
    bool overtaken; /* a newer one has been returned to the driver: this one must be, too */
    bool rests;     /* given back, while newer ones are in flight */
    struct script_chain *older, *newer; /* those in flight of the same queue */
    struct iovec iov[];
};

struct script_chain_list {
    struct script_chain *first;
    struct script_chain *last;
};

struct script_queue {
    struct queue_handler handler;
    struct wake wake; /* chains have arrived */

    /* The worker's thread's. */
    struct script_virtqueue *queues; /* as many as the worker's, while it runs */
    unsigned queue_count;
    struct virtqueue *first_queue;
    struct script_chain_list arriving;
    unsigned unanswered;
    counter chains; /* given to the script */

    pthread_mutex_t lock; /* protects the fields below */
    struct script_chain_list arrived;
    struct script_chain_list taken;
    struct script_chain_list answered;
    uint64_t next_id;
    struct event_loop *loop;                  /* the worker's, while it runs */
    uint32_t wanted[QUEUE_WORKER_QUEUES_MAX]; /* chains, by queue index; atomic */
};

/* Every queue is the driver's to fill: SCRIPT_QUEUE_ALL. */
void script_queue_init(struct script_queue *script, const char *name, struct wake wake);
/* No worker may run. */
void script_queue_destroy(struct script_queue *script);

/*
 * How many more chains of a queue the script has a use for, or SCRIPT_QUEUE_ALL; those that it has
 * not taken yet do not count. Any time. Returns 0 or -EINVAL: no such queue.
 */
int script_queue_want(struct script_queue *script, unsigned index, uint32_t chains);

/* Takes the oldest chain that has arrived, or answers NULL. It is the script's until the answer. */
const struct script_chain *script_queue_take(struct script_queue *script);
/* The index of the queue that a chain is of. */
uint16_t script_chain_queue(const struct script_chain *chain);

/* A chain that the script has, or NULL. */
const struct script_chain *script_queue_find(struct script_queue *script, uint64_t id);

/*
 * Ends a chain: `data` is copied to the start of its writable part. The worker hears of it with
 * script_queue_send(). Returns 0 or -EINVAL: no such chain, or more data than it has room for.
 */
int script_queue_finish(struct script_queue *script, uint64_t id, const void *data, size_t bytes);

/*
 * Gives a chain back, unused: it stays available and is taken again when one of its queue is
 * wanted. A chain that is older than one that was finished cannot stay: it is returned to the
 * driver empty. Likewise for script_queue_send(), and returns 0 or -EINVAL.
 */
int script_queue_give_back(struct script_queue *script, uint64_t id);

/* Tells the worker of the answers, once for all of them. */
void script_queue_send(struct script_queue *script);

#endif
