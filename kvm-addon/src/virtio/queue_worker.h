/*
 * The thread that serves the virtqueues of one device. It owns all that it touches while it runs;
 * others only ask it to stop.
 *
 * While there is work, and for a while after, it polls the rings with kicks turned off; then it
 * turns them on and sleeps. A chain is returned with one index update and at most one interrupt for
 * all that was completed in the same turn.
 */
#ifndef TSVM_QUEUE_WORKER_H
#define TSVM_QUEUE_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../backend/io_engine.h"
#include "../util/counter.h"
#include "../util/interrupt_line.h"
#include "../util/wake.h"
#include "virtqueue.h"

/* One watch of the I/O engine is for the worker's own event. */
#define QUEUE_WORKER_QUEUES_MAX (IO_ENGINE_WATCHES_MAX - 1)

/* What a device does with its chains. All but `start` and `free` run on the worker's thread. */
struct queue_handler {
    const char *name; /* of the thread, as top shows it: at most 15 characters */
    /*
     * Prepares for these queues; `event` is an eventfd that wakes the worker. Returns 0 or -errno.
     */
    int (*start)(struct queue_handler *handler, struct virtqueue *queues, unsigned count,
                 struct io_engine *engine, int event);
    /* Undoes start; nothing is in flight. */
    void (*free)(struct queue_handler *handler);
    /*
     * Takes up to `max` chains of a queue: each is pushed now or once it is complete. Returns how
     * many were taken; 0 too when the queue is broken.
     */
    unsigned (*serve)(struct queue_handler *handler, struct virtqueue *queue, unsigned max);
    /* The rest NULL when only the I/O engine completes requests. */
    /* Hands requests to other threads and goes on with their answers. Returns how many. */
    unsigned (*exchange)(struct queue_handler *handler);
    /* Whether there are answers; cheap. */
    bool (*has_answers)(struct queue_handler *handler);
    /* Whether another thread works on requests: one that may need the core that polling takes. */
    bool (*waits)(struct queue_handler *handler);
};

struct queue_worker_options {
    const struct guest_memory *memory;
    const struct virtqueue_config *queues;
    const int *kicks; /* an eventfd for each queue, non-blocking */
    unsigned queue_count;
    struct interrupt_line *interrupt;
    uint32_t *interrupt_status; /* bit 0 is set before each interrupt; or NULL */
    struct queue_handler *handler;
    struct io_engine *engine; /* is the worker's from now on, whatever start returns */
    struct wake wake;         /* told once, when the thread has ended or is about to */
};

struct queue_worker_statistics {
    counter chains;     /* taken */
    counter interrupts; /* sent */
    counter sleeps;     /* waits for a kick or a completion */
    counter poll_hits;  /* sleeps that polling made unnecessary */
};

struct queue_worker {
    struct queue_worker_options options;
    struct virtqueue queues[QUEUE_WORKER_QUEUES_MAX];
    pthread_t thread;
    int event;  /* eventfd that wakes the worker */
    bool stop;  /* atomic: no more chains are to be taken */
    bool ended; /* atomic: the thread touches nothing any more */
    bool kicks_on;
    uint64_t poll_ns; /* how long to poll before a sleep */
    struct queue_worker_statistics statistics;
};

/*
 * Checks the rings and starts the thread. Returns 0, -EINVAL (a ring is unaligned, outside memory
 * or of a bad size; too many queues) or another -errno.
 */
int queue_worker_start(struct queue_worker *worker, const struct queue_worker_options *options);

/*
 * Asks the worker to take no more chains, finish those in flight and end. Never waits: the wake
 * says when. It may be called any number of times.
 */
void queue_worker_stop(struct queue_worker *worker);

/* True when the thread has ended, or will without any more waiting. */
bool queue_worker_has_ended(const struct queue_worker *worker);

/* How the driver broke a queue, which made the thread end, or NULL. For an ended worker. */
const char *queue_worker_broken(const struct queue_worker *worker);

/* Frees the resources of an ended worker. */
void queue_worker_free(struct queue_worker *worker);

#endif
