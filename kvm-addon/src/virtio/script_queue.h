/*
 * The queue handler of a device without a data plane in C: chains are passed to a script
 * (TypeScript), which answers them. For devices with little traffic: a batch of chains costs one
 * wake-up of JavaScript and one of the worker.
 *
 * The worker's thread takes and returns chains. The functions for the script are called on the
 * JavaScript thread. The script owns a chain from script_queue_take() until it answers, for any
 * length of time.
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

/* No limit, for a queue that the driver fills, such as one for commands. */
#define SCRIPT_QUEUE_ALL UINT32_MAX

struct script_virtqueue;

struct script_chain {
    uint64_t id; /* below 2^53; never reused */
    struct virtqueue_chain chain;
    struct script_virtqueue *queue;
    uint32_t written;          /* number of bytes that the script has written */
    bool given_back;           /* the script has given the chain back unused */
    struct script_chain *next; /* in a list of the handler or of free chains */
    /* Used by the worker's thread. */
    bool overtaken; /* a newer chain was returned to the driver, so this one must be returned as
                     * well */
    bool rests;     /* given back while newer chains are in flight */
    struct script_chain *older, *newer; /* chains in flight of the same queue */
    struct iovec iov[];
};

struct script_chain_list {
    struct script_chain *first;
    struct script_chain *last;
};

struct script_queue {
    struct queue_handler handler;
    struct wake wake; /* woken when chains have arrived */

    /* Used by the worker's thread. */
    struct script_virtqueue *queues; /* the worker's queues, while it runs */
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
    struct event_loop *loop;                  /* the worker's wake, while it runs */
    uint32_t wanted[QUEUE_WORKER_QUEUES_MAX]; /* number of wanted chains by queue index; atomic */
};

/* Sets every queue to SCRIPT_QUEUE_ALL: the driver fills it. */
void script_queue_init(struct script_queue *script, const char *name, struct wake wake);
/* No worker may run. */
void script_queue_destroy(struct script_queue *script);

/*
 * Sets how many more chains of a queue the script can use, or SCRIPT_QUEUE_ALL. Chains that it has
 * not taken yet do not count. Callable at any time. Returns 0 or -EINVAL: no such queue.
 */
int script_queue_want(struct script_queue *script, unsigned index, uint32_t chains);

/* Takes the oldest chain that has arrived, or returns NULL. The script owns it until it answers. */
const struct script_chain *script_queue_take(struct script_queue *script);
/* The index of a chain's queue. */
uint16_t script_chain_queue(const struct script_chain *chain);

/* A chain that the script owns, or NULL. */
const struct script_chain *script_queue_find(struct script_queue *script, uint64_t id);

/*
 * Completes a chain: copies `data` to the start of its writable part. script_queue_send() passes
 * the answer to the worker. Returns 0 or -EINVAL: no such chain, or not enough room for the data.
 */
int script_queue_finish(struct script_queue *script, uint64_t id, const void *data, size_t bytes);

/*
 * Gives a chain back unused: it stays available and is taken again when a chain of its queue is
 * wanted. A chain that is older than a completed one cannot stay available and is returned to the
 * driver empty. script_queue_send() passes the answer to the worker. Returns 0 or -EINVAL.
 */
int script_queue_give_back(struct script_queue *script, uint64_t id);

/* Passes all answers to the worker. */
void script_queue_send(struct script_queue *script);

#endif
