/*
 * What a thread sleeps on: descriptors, timers, and a wake-up from other threads (epoll(7)).
 *
 * All functions but event_loop_wake() are for the one thread that serves the loop, and for whoever
 * prepares it before that thread starts.
 */
#ifndef TSVM_EVENT_LOOP_H
#define TSVM_EVENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Events that one call takes from the kernel; the others wait for the next. */
#define EVENT_LOOP_BATCH 32

/* A descriptor that the loop watches. It stays where it is until it is removed. */
struct event_source {
    int fd;
    /*
     * Called by event_loop_poll() and event_loop_deliver() with the events that came. It may add
     * and remove any source. NULL: the event only ends the sleep.
     */
    void (*ready)(struct event_source *source, uint32_t events);
};

/* A time at which a function is called once. */
struct event_timer {
    /* May set this timer again, or any other. */
    void (*expired)(struct event_timer *timer);

    /* The loop's. */
    uint64_t at_ns;
    struct event_timer *next; /* by time */
    bool set;
};

struct event_loop {
    int epoll_fd;
    struct event_source wake; /* an eventfd */
    struct event_source
        clock; /* a timerfd, made for the first timer; its descriptor is -1 before */
    struct event_timer *timers;
    uint64_t armed_ns;  /* when `clock` goes off; 0: it does not */
    unsigned callbacks; /* sources that have a function to call */
    /* The events being delivered, so that event_loop_remove() can take its own out. */
    struct epoll_event batch[EVENT_LOOP_BATCH];
    int batch_count;
};

/* Returns 0 or -errno; nothing is left open then. */
int event_loop_init(struct event_loop *loop);
/* The sources' descriptors stay open. */
void event_loop_destroy(struct event_loop *loop);

/*
 * Watches a descriptor for `events` (EPOLLIN, EPOLLOUT). With EPOLLET each new event is told once,
 * so that an eventfd that only wakes need not be read. Returns 0 or -errno.
 */
int event_loop_add(struct event_loop *loop, struct event_source *source, uint32_t events);
/* Watches a source for other events. Returns 0 or -errno. */
int event_loop_change(struct event_loop *loop, struct event_source *source, uint32_t events);
/* Its function is not called any more, for events that have come already neither. */
void event_loop_remove(struct event_loop *loop, struct event_source *source);

/* Sets a timer, again if it is set: `delay_ns` from now. Returns 0 or -errno. */
int event_loop_set_timer(struct event_loop *loop, struct event_timer *timer, uint64_t delay_ns);
void event_loop_cancel_timer(struct event_loop *loop, struct event_timer *timer);

/* Ends the present or the next wait. From any thread. */
void event_loop_wake(struct event_loop *loop);

/* Whether events call functions, so that a thread that does not sleep has to look for them. */
static inline bool event_loop_has_callbacks(const struct event_loop *loop)
{
    return loop->callbacks > 0;
}

/* Delivers the events that have come, without waiting. Returns their number. */
unsigned event_loop_poll(struct event_loop *loop);

/*
 * Sleeps until there is an event, or a signal. Meanwhile another thread may use the loop as far as
 * it removes no source. Returns what event_loop_deliver() takes.
 */
int event_loop_sleep(struct event_loop *loop);

/* Delivers the events of event_loop_sleep(). Returns their number. */
unsigned event_loop_deliver(struct event_loop *loop, int count);

/* Both. */
static inline unsigned event_loop_wait(struct event_loop *loop)
{
    return event_loop_deliver(loop, event_loop_sleep(loop));
}

#endif
