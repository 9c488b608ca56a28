/*
 * The thread that serves virtqueues of one device: all of them, or some where the device has
 * several workers. It owns all that it touches while it runs; others only ask it to stop, and wake
 * it.
 *
 * While there is work, and for a while after, it polls the rings with kicks turned off; then it
 * turns them on and sleeps. A chain is returned with one index update and at most one interrupt of
 * a line for all that was completed in the same turn.
 *
 * A kick that comes from a thread of this process (util/doorbell.h) while the worker sleeps is
 * served by that thread, as far as nothing has to be waited for. For a driver that does one request
 * after the other this saves two changes of threads here and, as the interrupt is there before the
 * guest waits for it, two changes of tasks in the guest.
 */
#ifndef TSVM_QUEUE_WORKER_H
#define TSVM_QUEUE_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../backend/io_engine_cached.h"
#include "../sandbox/sandbox.h"
#include "../util/counter.h"
#include "../util/event_loop.h"
#include "../util/interrupt_line.h"
#include "../util/wake.h"
#include "virtqueue.h"

#define QUEUE_WORKER_QUEUES_MAX 64u
#define QUEUE_WORKER_INTERRUPTS_MAX 64u

struct queue_worker;

/*
 * What a device does with its chains. All but `start` and `free` run on the worker's thread, those
 * that may be NULL included.
 */
struct queue_handler {
    const char *name; /* of the thread, as top shows it: at most 15 characters */
    /*
     * Prepares for the worker's queues; its event loop is there for descriptors and timers of the
     * device. Returns 0 or -errno.
     */
    int (*start)(struct queue_handler *handler, struct queue_worker *worker);
    /* Undoes start; nothing is in flight. */
    void (*free)(struct queue_handler *handler);
    /*
     * Takes up to `max` chains of a queue: each is pushed now or once it is complete. Returns how
     * many were taken; 0 too when the queue is broken.
     */
    unsigned (*serve)(struct queue_handler *handler, struct virtqueue *queue, unsigned max);
    /*
     * Whether the device has a use for a chain of this queue now. A queue that it fills itself, as
     * a network device does one for reception, always has chains: only when there is something to
     * put in them are they work, and the driver to be asked for a kick. What changes the answer
     * wakes the event loop. NULL: always.
     */
    bool (*wants)(struct queue_handler *handler, const struct virtqueue *queue);
    /*
     * No more chains are to be taken: gives back those that would wait for the host, such as the
     * buffers for reception. Called once. NULL: there are none.
     */
    void (*stop)(struct queue_handler *handler);
    /* The rest NULL when only the I/O engine completes requests. */
    /* Hands requests to other threads and goes on with their answers. Returns how many. */
    unsigned (*exchange)(struct queue_handler *handler);
    /* Whether there are answers; cheap. */
    bool (*has_answers)(struct queue_handler *handler);
    /* Whether another thread works on requests: one that may need the core that polling takes. */
    bool (*waits)(struct queue_handler *handler);
    /*
     * Whether a kicking thread may call the functions above while the worker sleeps. The handler
     * then never removes a source from the event loop.
     */
    bool serves_kicks;
    enum sandbox_thread sandbox; /* what its thread may do */
};

struct queue_worker_options {
    const struct guest_memory *memory;
    const struct virtqueue_config *queues;
    const int *kicks; /* an eventfd for each queue, non-blocking */
    unsigned queue_count;
    struct interrupt_line *const *interrupts; /* by virtqueue_config.interrupt; kept by the owner */
    unsigned interrupt_count;
    uint32_t *interrupt_status; /* bit 0 is set before each interrupt; or NULL */
    struct queue_handler *handler;
    struct io_engine *engine; /* NULL, or the worker's from now on, whatever start returns */
    struct wake wake;         /* told once, when the thread has ended or is about to */
};

struct queue_statistics {
    counter chains;        /* taken */
    counter notifications; /* used-buffer notifications that the driver wanted */
};

struct queue_worker_statistics {
    counter chains;     /* taken */
    counter interrupts; /* sent */
    counter sleeps;     /* waits for a kick or a completion */
    counter poll_hits;  /* sleeps that polling made unnecessary */
    counter at_once;    /* kicks that were served by the thread that kicked */
    struct queue_statistics queues[QUEUE_WORKER_QUEUES_MAX]; /* by queue index */
};

struct queue_worker {
    struct queue_worker_options options;
    struct virtqueue queues[QUEUE_WORKER_QUEUES_MAX];
    struct event_source kicks[QUEUE_WORKER_QUEUES_MAX];
    struct event_source completions; /* the I/O engine's */
    struct event_loop loop;
    struct io_engine_cached cached; /* around the I/O engine, which it owns */
    pthread_t thread;
    pthread_mutex_t turn; /* held by the thread that may touch the queues and what they need */
    bool sleeping;        /* the worker's thread is; protected by `turn` */
    bool stop;            /* atomic: no more chains are to be taken */
    bool ended;           /* atomic: the thread touches nothing any more */
    bool kicks_on;
    uint64_t poll_ns; /* how long to poll before a sleep */
    struct queue_worker_statistics statistics;
};

/*
 * Checks the rings and starts the thread. The worker is zeroed before its first start; its
 * statistics go on from one start to the next. Returns 0, -EINVAL (a ring is unaligned, outside
 * memory or of a bad size; too many queues; no such queue or interrupt) or another -errno.
 */
int queue_worker_start(struct queue_worker *worker, const struct queue_worker_options *options);

/*
 * Asks the worker to take no more chains, finish those in flight and end. Never waits: the wake
 * says when. It may be called any number of times.
 */
void queue_worker_stop(struct queue_worker *worker);

/*
 * Serves a kick on the calling thread if it can: a doorbell_answer, whose context is the worker.
 * The worker was started, and is not freed meanwhile. Returns false if the worker is to be woken.
 */
bool queue_worker_serve_kick(void *worker);

/* True when the thread has ended, or will without any more waiting. */
bool queue_worker_has_ended(const struct queue_worker *worker);

/* How the driver broke a queue, which made the thread end, or NULL. For an ended worker. */
const char *queue_worker_broken(const struct queue_worker *worker);

/* Frees the resources of an ended worker. */
void queue_worker_free(struct queue_worker *worker);

#endif
