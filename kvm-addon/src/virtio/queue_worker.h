/*
 * The thread that serves all or some of a device's virtqueues. It owns everything that it touches
 * while it runs. Other threads only wake it and ask it to stop.
 *
 * While there is work, and for a short time after that, it polls the rings with kicks disabled;
 * then it enables kicks and sleeps. All chains completed in a turn are returned with one index
 * update and at most one interrupt per interrupt line.
 *
 * A kick that comes from a thread of this process (util/doorbell.h) while the worker sleeps is
 * served by that thread, as far as it need not wait for anything. For a driver that issues one
 * request at a time, this saves two thread switches here. Because the interrupt is raised before
 * the guest waits for it, it also saves two task switches in the guest.
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
 * What a device does with its chains. All functions except `start` and `free` are called on the
 * worker's thread.
 */
struct queue_handler {
    const char *name; /* name of the thread, at most 15 characters */
    /*
     * Prepares for the worker's queues. The device may add descriptors and timers to the event
     * loop. Returns 0 or -errno.
     */
    int (*start)(struct queue_handler *handler, struct queue_worker *worker);
    /* Undoes start. Nothing is in flight. */
    void (*free)(struct queue_handler *handler);
    /*
     * Takes up to `max` chains of a queue and pushes each immediately or when it is complete.
     * Returns the number of chains taken, 0 if the queue is broken.
     */
    unsigned (*serve)(struct queue_handler *handler, struct virtqueue *queue, unsigned max);
    /*
     * Whether the device can use a chain of this queue now; NULL means always. In a queue that the
     * device fills, such as a network device's receive queue, chains are nearly always available.
     * They are work, and need a kick, only if there is data for them. Whatever changes the answer
     * wakes the event loop.
     */
    bool (*wants)(struct queue_handler *handler, const struct virtqueue *queue);
    /*
     * Called once when no more chains are to be taken: gives back chains that would wait for the
     * host, such as receive buffers. NULL if there are none.
     */
    void (*stop)(struct queue_handler *handler);
    /* The remaining functions are NULL if only the I/O engine completes requests. */
    /* Passes requests to other threads and continues those that they have answered. Returns their
     * number. */
    unsigned (*exchange)(struct queue_handler *handler);
    /* Whether there are answers; must be cheap. */
    bool (*has_answers)(struct queue_handler *handler);
    /* Whether another thread works on requests; it may need the core that polling would take. */
    bool (*waits)(struct queue_handler *handler);
    /*
     * Whether work that follows closely on other work may wait for a moment, to be served together
     * with more. NULL means never.
     */
    bool (*gathers)(struct queue_handler *handler);
    /*
     * Whether a kicking thread may call the functions above while the worker sleeps. Then the
     * handler must never remove a source from the event loop.
     */
    bool serves_kicks;
    enum sandbox_thread sandbox; /* what its thread may do */
    unsigned turn_chains; /* most chains of a queue in one turn, which may end in an interrupt; 0:
                           * the worker's default */
};

struct queue_worker_options {
    const struct guest_memory *memory;
    const struct virtqueue_config *queues;
    const int *kicks; /* a non-blocking eventfd per queue */
    unsigned queue_count;
    struct interrupt_line *const *interrupts; /* indexed by virtqueue_config.interrupt; owned by
                                               * the caller */
    unsigned interrupt_count;
    uint32_t *interrupt_status; /* NULL, or a word whose bit 0 is set before each interrupt */
    struct queue_handler *handler;
    struct io_engine *engine; /* NULL, or an engine that the worker owns, even if start fails */
    struct wake wake;         /* woken once, when the thread has ended or is about to */
};

struct queue_statistics {
    counter chains;        /* taken chains */
    counter notifications; /* used buffer notifications that the driver has requested */
};

struct queue_worker_statistics {
    counter chains;     /* taken chains */
    counter interrupts; /* interrupts sent */
    counter sleeps;     /* sleeps until a kick or a completion */
    counter poll_hits;  /* sleeps that polling has avoided */
    counter gathers;    /* short sleeps in which work gathers */
    counter at_once;    /* kicks served by the kicking thread */
    struct queue_statistics queues[QUEUE_WORKER_QUEUES_MAX]; /* by queue index */
};

struct queue_worker {
    struct queue_worker_options options;
    struct virtqueue queues[QUEUE_WORKER_QUEUES_MAX];
    struct event_source kicks[QUEUE_WORKER_QUEUES_MAX];
    struct event_source completions; /* the I/O engine of the options */
    struct event_loop loop;
    struct io_engine_cached cached; /* wraps the I/O engine and owns it */
    pthread_t thread;
    pthread_mutex_t turn; /* held by the thread that may use the queues */
    bool sleeping;        /* the worker's thread sleeps; protected by `turn` */
    bool stop;            /* atomic: no more chains may be taken */
    bool ended;           /* atomic: the thread no longer uses anything */
    bool kicks_on;
    uint64_t poll_ns;     /* time to poll before a sleep */
    uint64_t rest_ns;     /* how long the last rest took */
    unsigned served;      /* work done since then */
    uint64_t polled_ns;   /* last check of the event loop between two turns */
    unsigned small_turns; /* in a row that a kicking thread could have taken */
    struct queue_worker_statistics statistics;
};

/*
 * Checks the rings and starts the thread. Zero the worker before its first start; its statistics
 * continue over restarts. Returns 0, -EINVAL (a ring is unaligned, outside memory or of an invalid
 * size; too many queues; no such queue or interrupt) or another -errno.
 */
int queue_worker_start(struct queue_worker *worker, const struct queue_worker_options *options);

/*
 * Asks the worker to take no more chains, to complete those in flight and to end. Does not wait:
 * `wake` reports the end. It may be called repeatedly.
 */
void queue_worker_stop(struct queue_worker *worker);

/*
 * Serves a kick on the calling thread if possible: a doorbell_answer whose context is the worker.
 * The worker must have been started and must not be freed meanwhile. Returns false if the worker
 * must be woken.
 */
bool queue_worker_serve_kick(void *worker);

/* True if the thread has ended, or will end without waiting for anything. */
bool queue_worker_has_ended(const struct queue_worker *worker);

/* How the driver broke a queue, which ended the thread, or NULL. Call it when the worker has ended.
 */
const char *queue_worker_broken(const struct queue_worker *worker);

/* Frees the resources of a worker that has ended. */
void queue_worker_free(struct queue_worker *worker);

#endif
