#include "event_loop.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"

#define NS_PER_S 1000000000u

static int source_control(struct event_loop *loop, int operation, struct event_source *source,
                          uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    return epoll_ctl(loop->epoll_fd, operation, source->fd, &event) < 0 ? -errno : 0;
}

int event_loop_add(struct event_loop *loop, struct event_source *source, uint32_t events)
{
    int error = source_control(loop, EPOLL_CTL_ADD, source, events);

    if (error == 0 && source->ready)
        loop->callbacks++;
    return error;
}

int event_loop_change(struct event_loop *loop, struct event_source *source, uint32_t events)
{
    return source_control(loop, EPOLL_CTL_MOD, source, events);
}

void event_loop_remove(struct event_loop *loop, struct event_source *source)
{
    if (source_control(loop, EPOLL_CTL_DEL, source, 0) < 0)
        return;
    if (source->ready)
        loop->callbacks--;
    for (int i = 0; i < loop->batch_count; i++) {
        if (loop->batch[i].data.ptr == source)
            loop->batch[i].data.ptr = NULL;
    }
}

int event_loop_init(struct event_loop *loop)
{
    *loop = (struct event_loop){.clock.fd = -1};
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return -errno;
    loop->wake.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int error = loop->wake.fd < 0 ? -errno : 0;
    if (error == 0)
        error = event_loop_add(loop, &loop->wake, EPOLLIN | EPOLLET);
    if (error < 0)
        event_loop_destroy(loop);
    return error;
}

void event_loop_destroy(struct event_loop *loop)
{
    if (loop->clock.fd >= 0)
        close(loop->clock.fd);
    if (loop->wake.fd >= 0)
        close(loop->wake.fd);
    close(loop->epoll_fd);
}

void event_loop_wake(struct event_loop *loop)
{
    eventfd_write(loop->wake.fd, 1);
}

/* Lets the clock go off for the first timer. */
static void clock_arm(struct event_loop *loop)
{
    uint64_t at_ns = loop->timers ? loop->timers->at_ns : 0;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)}};

    if (at_ns == loop->armed_ns)
        return;
    loop->armed_ns = at_ns;
    timerfd_settime(loop->clock.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void clock_ready(struct event_source *source, uint32_t events)
{
    struct event_loop *loop =
        (struct event_loop *)((uint8_t *)source - offsetof(struct event_loop, clock));
    uint64_t now = now_ns();

    (void)events;
    loop->armed_ns = 0;
    /* A timer that is set anew meanwhile is later than `now`, or it is for the next round. */
    while (loop->timers && loop->timers->at_ns <= now) {
        struct event_timer *timer = loop->timers;
        loop->timers = timer->next;
        timer->set = false;
        timer->expired(timer);
    }
    clock_arm(loop);
}

static int clock_open(struct event_loop *loop)
{
    if (loop->clock.fd >= 0)
        return 0;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    loop->clock = (struct event_source){.fd = fd, .ready = clock_ready};
    int error = event_loop_add(loop, &loop->clock, EPOLLIN | EPOLLET);
    if (error < 0) {
        close(fd);
        loop->clock = (struct event_source){.fd = -1};
    }
    return error;
}

static void timer_take_out(struct event_loop *loop, struct event_timer *timer)
{
    struct event_timer **link = &loop->timers;

    if (!timer->set)
        return;
    while (*link != timer)
        link = &(*link)->next;
    *link = timer->next;
    timer->set = false;
}

int event_loop_set_timer(struct event_loop *loop, struct event_timer *timer, uint64_t delay_ns)
{
    int error = clock_open(loop);

    if (error < 0)
        return error;
    timer_take_out(loop, timer);
    /* At least 1: a delay of 0 must not keep clock_ready() going for ever. */
    timer->at_ns = now_ns() + (delay_ns > 0 ? delay_ns : 1);
    timer->set = true;
    struct event_timer **link = &loop->timers;
    while (*link && (*link)->at_ns <= timer->at_ns)
        link = &(*link)->next;
    timer->next = *link;
    *link = timer;
    clock_arm(loop);
    return 0;
}

void event_loop_cancel_timer(struct event_loop *loop, struct event_timer *timer)
{
    if (!timer->set)
        return;
    timer_take_out(loop, timer);
    clock_arm(loop);
}

unsigned event_loop_deliver(struct event_loop *loop, int count)
{
    unsigned delivered = 0;

    loop->batch_count = count;
    for (int i = 0; i < loop->batch_count; i++) {
        struct event_source *source = loop->batch[i].data.ptr;
        if (!source)
            continue;
        delivered++;
        if (source->ready)
            source->ready(source, loop->batch[i].events);
    }
    loop->batch_count = 0;
    return delivered;
}

unsigned event_loop_poll(struct event_loop *loop)
{
    return event_loop_deliver(loop, epoll_wait(loop->epoll_fd, loop->batch, EVENT_LOOP_BATCH, 0));
}

int event_loop_sleep(struct event_loop *loop)
{
    return epoll_wait(loop->epoll_fd, loop->batch, EVENT_LOOP_BATCH, -1);
}
