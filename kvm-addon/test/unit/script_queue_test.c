/*
 * Chains to a script and back, on one thread: random orders of all that driver, worker and script
 * do. Every head that the driver offered comes back once, in the end, whatever was given back
 * between.
 */
#include "../../src/virtio/script_queue.h"

#include <errno.h>
#include <stdlib.h>

#include "../check.h"
#include "../fake_driver.h"

#define SIZE 8u
#define STEPS 200000u

struct setup {
    struct fake_driver driver;
    struct queue_worker worker;
    struct script_queue script;
    unsigned wakes;
    uint64_t held[SIZE]; /* ids that the script has */
    unsigned held_count;
    unsigned free[SIZE]; /* heads that the driver may offer */
    unsigned free_count;
    unsigned offered;
    unsigned returned;
};

static void count_wake(void *context)
{
    ++*(unsigned *)context;
}

static void setup_init(struct setup *s)
{
    *s = (struct setup){.free_count = SIZE};
    for (unsigned i = 0; i < SIZE; i++)
        s->free[i] = i;
    driver_init(&s->driver, SIZE);
    script_queue_init(&s->script, "test", (struct wake){count_wake, &s->wakes});
    CHECK(event_loop_init(&s->worker.loop) == 0);
    s->worker.options.queue_count = 1;
    CHECK(virtqueue_init(s->worker.queues, &s->driver.memory, &s->driver.config) == 0);
    CHECK(s->script.handler.start(&s->script.handler, &s->worker) == 0);
}

static void setup_free(struct setup *s)
{
    s->script.handler.free(&s->script.handler);
    script_queue_destroy(&s->script);
    event_loop_destroy(&s->worker.loop);
    driver_free(&s->driver);
}

static void driver_step(struct setup *s)
{
    struct vring_used_elem element;

    while (driver_take_used(&s->driver, &element)) {
        CHECK(element.id < SIZE);
        s->free[s->free_count++] = element.id;
        s->returned++;
    }
    if (s->free_count == 0)
        return;
    unsigned index = (unsigned)rand() % s->free_count;
    uint16_t head = (uint16_t)s->free[index];
    s->free[index] = s->free[--s->free_count];
    *(uint8_t *)driver_at(&s->driver, BUFFERS_GPA + head) = (uint8_t)head;
    driver_describe(&s->driver, head, BUFFERS_GPA + head, 1, 0, 0);
    driver_offer(&s->driver, head);
    s->offered++;
}

static void worker_step(struct setup *s)
{
    struct queue_handler *handler = &s->script.handler;
    struct virtqueue *queue = s->worker.queues;

    if (handler->wants(handler, queue))
        handler->serve(handler, queue, 1 + (unsigned)rand() % 4);
    handler->exchange(handler);
    virtqueue_publish(queue);
}

static void script_take(struct setup *s)
{
    const struct script_chain *chain;

    while ((chain = script_queue_take(&s->script)) != NULL) {
        uint8_t head = UINT8_MAX;
        struct iov_span readable = {.iov = (struct iovec *)chain->iov,
                                    .count = chain->chain.readable_count};
        CHECK(iov_copy_from(&readable, &head, 1) == 1 && head == chain->chain.head);
        CHECK(s->held_count < SIZE);
        s->held[s->held_count++] = chain->id;
    }
}

static void script_answer(struct setup *s, bool give_back)
{
    if (s->held_count == 0)
        return;
    unsigned index = (unsigned)rand() % s->held_count;
    uint64_t id = s->held[index];
    s->held[index] = s->held[--s->held_count];
    CHECK(script_queue_finish(&s->script, id, "xx", 2) == -EINVAL);
    int error = give_back ? script_queue_give_back(&s->script, id)
                          : script_queue_finish(&s->script, id, NULL, 0);
    CHECK(error == 0);
    CHECK(script_queue_give_back(&s->script, id) == -EINVAL);
}

static void every_chain_comes_back_once(unsigned seed)
{
    static struct setup s;

    srand(seed);
    setup_init(&s);
    for (unsigned step = 0; step < STEPS; step++) {
        switch (rand() % 8) {
        case 0:
        case 1:
            driver_step(&s);
            break;
        case 2:
        case 3:
            worker_step(&s);
            break;
        case 4:
            script_take(&s);
            break;
        case 5:
            script_answer(&s, true);
            break;
        case 6:
            script_answer(&s, false);
            break;
        default:
            CHECK(script_queue_want(&s.script, 0,
                                    rand() % 2 ? SCRIPT_QUEUE_ALL : (uint32_t)rand() % 3) == 0);
        }
        CHECK(!s.worker.queues->broken);
    }
    /* As for a stop: nothing new, and the end of what is in flight. */
    script_queue_want(&s.script, 0, 0);
    for (unsigned turn = 0; turn < 4 && s.worker.queues->in_flight > 0; turn++) {
        worker_step(&s);
        script_take(&s);
        while (s.held_count > 0)
            script_answer(&s, turn % 2);
    }
    CHECK(s.worker.queues->in_flight == 0);
    /* Then all that is left. */
    script_queue_want(&s.script, 0, SCRIPT_QUEUE_ALL);
    for (unsigned turn = 0; turn < 2 * SIZE && s.returned < s.offered; turn++) {
        worker_step(&s);
        script_take(&s);
        while (s.held_count > 0)
            script_answer(&s, false);
        struct vring_used_elem element;
        while (driver_take_used(&s.driver, &element))
            s.returned++;
    }
    CHECK(s.returned == s.offered && s.offered > STEPS / 100);
    CHECK(s.wakes > 0 && s.wakes < s.offered * 2);
    setup_free(&s);
}

static void queue_that_is_not_there(void)
{
    static struct setup s;

    setup_init(&s);
    CHECK(script_queue_want(&s.script, QUEUE_WORKER_QUEUES_MAX, 1) == -EINVAL);
    CHECK(script_queue_finish(&s.script, 1, NULL, 0) == -EINVAL);
    CHECK(script_queue_find(&s.script, 1) == NULL && script_queue_take(&s.script) == NULL);
    setup_free(&s);
}

int main(void)
{
    for (unsigned seed = 1; seed <= 3; seed++)
        every_chain_comes_back_once(seed);
    queue_that_is_not_there();
    return check_finish();
}
