/*
 * The queue worker with a device that fills one queue itself, as a network device does for
 * reception, and answers the other: queue indices, interrupts and what is wanted of each.
 */
#include <stddef.h>

#include "../../src/virtio/queue_worker.h"
#include "../check.h"
#include "../device_setup.h"

#define WRITE VRING_DESC_F_WRITE
#define QUEUE_BYTES 0x8000u

enum queue_index { RECEIVE = 0, TRANSMIT = 1, QUEUES };

/* Packets are the counts of an eventfd. */
struct packet_device {
    struct queue_handler handler;
    struct event_source source;
    struct iovec iov[8];
    unsigned pending; /* packets that wait for a buffer */
    unsigned seen[QUEUES];
};

static struct packet_device *device_of(struct queue_handler *handler)
{
    return (struct packet_device *)handler;
}

static void packets_arrive(struct event_source *source, uint32_t events)
{
    struct packet_device *device =
        (struct packet_device *)((uint8_t *)source - offsetof(struct packet_device, source));
    eventfd_t packets = 0;

    (void)events;
    eventfd_read(source->fd, &packets);
    device->pending += (unsigned)packets;
}

static int packet_start(struct queue_handler *handler, struct queue_worker *worker)
{
    struct packet_device *device = device_of(handler);

    device->source.ready = packets_arrive;
    return event_loop_add(&worker->loop, &device->source, EPOLLIN);
}

static void packet_free(struct queue_handler *handler)
{
    (void)handler;
}

static bool packet_wants(struct queue_handler *handler, const struct virtqueue *queue)
{
    return queue->index != RECEIVE || device_of(handler)->pending > 0;
}

static unsigned packet_serve(struct queue_handler *handler, struct virtqueue *queue, unsigned max)
{
    struct packet_device *device = device_of(handler);
    struct virtqueue_chain chain;
    unsigned taken = 0;

    while (taken < max && packet_wants(handler, queue) &&
           virtqueue_pop(queue, device->iov, &chain) > 0) {
        /* Each chain is given back once, and taken again. */
        if (device->seen[queue->index]++ % 2 == 0) {
            virtqueue_unpop(queue);
            continue;
        }
        taken++;
        if (queue->index == RECEIVE)
            device->pending--;
        virtqueue_push(queue, chain.head, queue->index == RECEIVE ? 1 : 0);
    }
    return taken;
}

struct setup {
    struct packet_device device;
    struct fake_driver drivers[QUEUES];
    struct queue_worker worker;
    struct interrupt_line lines[QUEUES];
    struct interrupt_line *line_list[QUEUES];
    int kicks[QUEUES];
    int interrupts[QUEUES];
    int ended_event;
};

static int setup_start(struct setup *s)
{
    struct virtqueue_config configs[QUEUES] = {s->drivers[0].config, s->drivers[1].config};
    struct queue_worker_options options = {
        .memory = &s->drivers[0].memory,
        .queues = configs,
        .kicks = s->kicks,
        .queue_count = QUEUES,
        .interrupts = s->line_list,
        .interrupt_count = QUEUES,
        .handler = &s->device.handler,
        .wake = {.notify = device_ended, .context = &s->ended_event},
    };
    return queue_worker_start(&s->worker, &options);
}

static void setup_init(struct setup *s)
{
    *s = (struct setup){.ended_event = eventfd(0, EFD_NONBLOCK)};
    s->device = (struct packet_device){
        .handler = {.name = "test",
                    .start = packet_start,
                    .free = packet_free,
                    .serve = packet_serve,
                    .wants = packet_wants},
        .source.fd = eventfd(0, EFD_NONBLOCK),
    };
    driver_init(&s->drivers[0], 8);
    s->drivers[1] = s->drivers[0];
    for (unsigned i = 0; i < QUEUES; i++) {
        struct fake_driver *driver = &s->drivers[i];
        driver->config.descriptor_gpa += i * QUEUE_BYTES;
        driver->config.available_gpa += i * QUEUE_BYTES;
        driver->config.used_gpa += i * QUEUE_BYTES;
        driver->config.index = (uint16_t)i;
        driver->config.interrupt = (int)i;
        driver->descriptors = driver_at(driver, driver->config.descriptor_gpa);
        driver->available = driver_at(driver, driver->config.available_gpa);
        driver->used = driver_at(driver, driver->config.used_gpa);
        s->kicks[i] = eventfd(0, EFD_NONBLOCK);
        s->interrupts[i] = eventfd(0, EFD_NONBLOCK);
        interrupt_line_init(&s->lines[i], s->interrupts[i]);
        s->line_list[i] = &s->lines[i];
    }
}

static void setup_free(struct setup *s)
{
    close(s->device.source.fd);
    close(s->ended_event);
    for (unsigned i = 0; i < QUEUES; i++) {
        interrupt_line_destroy(&s->lines[i]);
        close(s->kicks[i]);
        close(s->interrupts[i]);
    }
    driver_free(&s->drivers[0]);
}

static bool stop(struct setup *s)
{
    queue_worker_stop(&s->worker);
    bool ended = event_wait(s->ended_event, 60000);
    queue_worker_free(&s->worker);
    return ended;
}

static void offer(struct setup *s, enum queue_index index, uint16_t head)
{
    driver_describe(&s->drivers[index], head, BUFFERS_GPA + 0x1000u * head, 64, WRITE, 0);
    driver_offer(&s->drivers[index], head);
}

static bool takes(struct setup *s, enum queue_index index, uint32_t id)
{
    struct vring_used_elem element;
    return driver_take_used(&s->drivers[index], &element) && element.id == id;
}

/* True once a counter of the worker's has gone beyond a value. */
static bool await_counter(const counter *value, uint64_t beyond)
{
    time_t end = time(NULL) + 60;
    while (counter_read(value) <= beyond && time(NULL) < end)
        sched_yield();
    return counter_read(value) > beyond;
}

static void buffers_for_reception_are_no_work(void)
{
    struct setup s;
    setup_init(&s);
    for (uint16_t head = 0; head < 4; head++)
        offer(&s, RECEIVE, head);
    CHECK(setup_start(&s) == 0);
    /* A worker that took them for work would never sleep. */
    CHECK(await_counter(&s.worker.statistics.sleeps, 0));
    CHECK(counter_read(&s.worker.statistics.chains) == 0);
    eventfd_write(s.device.source.fd, 2);
    CHECK(event_wait(s.interrupts[RECEIVE], 60000));
    CHECK(await_counter(&s.worker.statistics.chains, 1));
    CHECK(await_counter(&s.worker.statistics.sleeps, 1));
    CHECK(takes(&s, RECEIVE, 0) && takes(&s, RECEIVE, 1) && !takes(&s, RECEIVE, 2));
    CHECK(stop(&s));
    setup_free(&s);
}

static void packets_without_buffers_wait_for_a_kick(void)
{
    struct setup s;
    setup_init(&s);
    s.drivers[RECEIVE].config.event_idx = false;
    CHECK(setup_start(&s) == 0);
    CHECK(await_counter(&s.worker.statistics.sleeps, 0));
    CHECK(!driver_must_kick(&s.drivers[RECEIVE], 0));
    eventfd_write(s.device.source.fd, 1);
    time_t end = time(NULL) + 60;
    while (!driver_must_kick(&s.drivers[RECEIVE], 0) && time(NULL) < end)
        sched_yield();
    CHECK(driver_must_kick(&s.drivers[RECEIVE], 0));
    offer(&s, RECEIVE, 5);
    eventfd_write(s.kicks[RECEIVE], 1);
    CHECK(event_wait(s.interrupts[RECEIVE], 60000));
    CHECK(takes(&s, RECEIVE, 5));
    CHECK(stop(&s));
    setup_free(&s);
}

static void each_queue_raises_its_own_interrupt(void)
{
    struct setup s;
    setup_init(&s);
    CHECK(setup_start(&s) == 0);
    offer(&s, TRANSMIT, 3);
    eventfd_write(s.kicks[TRANSMIT], 1);
    CHECK(event_wait(s.interrupts[TRANSMIT], 60000));
    CHECK(takes(&s, TRANSMIT, 3));
    CHECK(!event_wait(s.interrupts[RECEIVE], 0));
    CHECK(stop(&s));
    CHECK(counter_read(&s.worker.statistics.interrupts) == 1);
    /* A queue without an interrupt; the counters go on. */
    s.drivers[TRANSMIT].config.interrupt = -1;
    CHECK(setup_start(&s) == 0);
    offer(&s, TRANSMIT, 4);
    eventfd_write(s.kicks[TRANSMIT], 1);
    CHECK(await_counter(&s.worker.statistics.chains, 1));
    CHECK(stop(&s));
    CHECK(takes(&s, TRANSMIT, 4));
    CHECK(!event_wait(s.interrupts[TRANSMIT], 0));
    CHECK(counter_read(&s.worker.statistics.interrupts) == 1);
    setup_free(&s);
}

static void interrupt_that_is_not_there_is_refused(void)
{
    struct setup s;
    setup_init(&s);
    s.drivers[TRANSMIT].config.interrupt = QUEUES;
    CHECK(setup_start(&s) == -EINVAL);
    setup_free(&s);
}

int main(void)
{
    buffers_for_reception_are_no_work();
    packets_without_buffers_wait_for_a_kick();
    each_queue_raises_its_own_interrupt();
    interrupt_that_is_not_there_is_refused();
    return check_finish();
}
