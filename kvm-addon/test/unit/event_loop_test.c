/* The event loop: descriptors, timers, and the wake-up from other threads. */
#include "../../src/util/event_loop.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "../check.h"

#define MS 1000000u

/* An eventfd whose events are counted, and which may remove another source. */
struct counted {
    struct event_source source;
    struct event_loop *loop;
    unsigned calls;
    bool reads;
    struct counted *removes;
};

static void counted_ready(struct event_source *source, uint32_t events)
{
    struct counted *counted = (struct counted *)source;
    eventfd_t value;

    CHECK(events == EPOLLIN);
    counted->calls++;
    if (counted->reads)
        eventfd_read(source->fd, &value);
    if (counted->removes)
        event_loop_remove(counted->loop, &counted->removes->source);
}

static void counted_init(struct counted *counted, struct event_loop *loop, uint32_t events)
{
    *counted = (struct counted){.source = {.fd = eventfd(0, EFD_NONBLOCK), .ready = counted_ready},
                                .loop = loop};
    CHECK(event_loop_add(loop, &counted->source, events) == 0);
}

static void sources_are_called_until_they_are_read(void)
{
    struct event_loop loop;
    struct counted level, edge;

    CHECK(event_loop_init(&loop) == 0);
    CHECK(!event_loop_has_callbacks(&loop));
    counted_init(&level, &loop, EPOLLIN);
    counted_init(&edge, &loop, EPOLLIN | EPOLLET);
    CHECK(event_loop_has_callbacks(&loop));
    CHECK(event_loop_poll(&loop) == 0);
    eventfd_write(level.source.fd, 1);
    eventfd_write(edge.source.fd, 1);
    event_loop_wait(&loop);
    CHECK(level.calls == 1 && edge.calls == 1);
    CHECK(event_loop_poll(&loop) == 1);
    CHECK(level.calls == 2 && edge.calls == 1);
    level.reads = true;
    CHECK(event_loop_poll(&loop) == 1 && event_loop_poll(&loop) == 0);
    eventfd_write(edge.source.fd, 1); /* unread, and told again */
    CHECK(event_loop_poll(&loop) == 1 && edge.calls == 2);
    CHECK(event_loop_change(&loop, &level.source, 0) == 0);
    eventfd_write(level.source.fd, 1);
    CHECK(event_loop_poll(&loop) == 0);
    event_loop_remove(&loop, &level.source);
    event_loop_remove(&loop, &edge.source);
    CHECK(!event_loop_has_callbacks(&loop));
    event_loop_destroy(&loop);
    close(level.source.fd);
    close(edge.source.fd);
}

/* Two events in one batch: the first removes the other's source. */
static void removed_source_is_not_called_any_more(void)
{
    struct event_loop loop;
    struct counted sources[2];

    CHECK(event_loop_init(&loop) == 0);
    for (unsigned i = 0; i < 2; i++)
        counted_init(&sources[i], &loop, EPOLLIN);
    for (unsigned i = 0; i < 2; i++) {
        sources[i].removes = &sources[1 - i];
        eventfd_write(sources[i].source.fd, 1);
    }
    CHECK(event_loop_poll(&loop) == 1);
    CHECK(sources[0].calls + sources[1].calls == 1);
    event_loop_destroy(&loop);
    for (unsigned i = 0; i < 2; i++)
        close(sources[i].source.fd);
}

static void many_sources(void)
{
    enum { COUNT = 300 };
    static struct counted sources[COUNT];
    struct event_loop loop;
    unsigned calls = 0;

    CHECK(event_loop_init(&loop) == 0);
    for (unsigned i = 0; i < COUNT; i++) {
        counted_init(&sources[i], &loop, EPOLLIN);
        sources[i].reads = true;
        eventfd_write(sources[i].source.fd, 1);
    }
    while (event_loop_poll(&loop) > 0)
        ;
    for (unsigned i = 0; i < COUNT; i++) {
        calls += sources[i].calls;
        close(sources[i].source.fd);
    }
    CHECK(calls == COUNT);
    event_loop_destroy(&loop);
}

static void *wake_later(void *loop)
{
    event_loop_wake(loop);
    return NULL;
}

static void another_thread_wakes(void)
{
    struct event_loop loop;
    pthread_t thread;

    CHECK(event_loop_init(&loop) == 0);
    event_loop_wake(&loop);
    event_loop_wait(&loop); /* the wake-up came before */
    CHECK(event_loop_poll(&loop) == 0);
    CHECK(pthread_create(&thread, NULL, wake_later, &loop) == 0);
    event_loop_wait(&loop);
    pthread_join(thread, NULL);
    event_loop_destroy(&loop);
}

/* A timer that notes which call it was, and may set another. */
struct noted {
    struct event_timer timer;
    struct event_loop *loop;
    unsigned order;
    unsigned calls;
    struct noted *sets;
};

static unsigned noted_calls;

static void note_expiry(struct event_timer *timer)
{
    struct noted *noted = (struct noted *)timer;

    noted->order = ++noted_calls;
    noted->calls++;
    if (noted->sets && noted->calls < 3)
        CHECK(event_loop_set_timer(noted->loop, &noted->sets->timer, 0) == 0);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / MS;
}

static void timers_expire_in_their_order(void)
{
    struct event_loop loop;
    struct noted timers[4];
    const uint64_t delays_ms[] = {30, 10, 20, 5};
    uint64_t start = now_ms();

    CHECK(event_loop_init(&loop) == 0);
    noted_calls = 0;
    for (unsigned i = 0; i < 4; i++) {
        timers[i] = (struct noted){.timer.expired = note_expiry, .loop = &loop};
        CHECK(event_loop_set_timer(&loop, &timers[i].timer, delays_ms[i] * MS) == 0);
    }
    event_loop_cancel_timer(&loop, &timers[3].timer);
    event_loop_cancel_timer(&loop, &timers[3].timer);
    CHECK(event_loop_set_timer(&loop, &timers[1].timer, 40 * MS) == 0); /* set anew: the last now */
    while (noted_calls < 3)
        event_loop_wait(&loop);
    CHECK(now_ms() - start >= 40);
    CHECK(timers[2].order == 1 && timers[0].order == 2 && timers[1].order == 3);
    CHECK(timers[3].calls == 0);
    CHECK(event_loop_poll(&loop) == 0);
    event_loop_destroy(&loop);
}

/* One that sets itself with no delay leaves the others their turn. */
static void timer_sets_itself(void)
{
    struct event_loop loop;
    struct noted timer = {.timer.expired = note_expiry, .loop = &loop, .sets = &timer};

    CHECK(event_loop_init(&loop) == 0);
    CHECK(event_loop_set_timer(&loop, &timer.timer, 0) == 0);
    while (timer.calls < 3)
        event_loop_wait(&loop);
    CHECK(event_loop_poll(&loop) == 0 && timer.calls == 3);
    event_loop_destroy(&loop);
}

int main(void)
{
    sources_are_called_until_they_are_read();
    removed_source_is_not_called_any_more();
    many_sources();
    another_thread_wakes();
    timers_expire_in_their_order();
    timer_sets_itself();
    return check_finish();
}
