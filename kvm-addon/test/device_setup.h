/* A queue worker with a fake driver, for tests of the data planes. */
#ifndef TSVM_TEST_DEVICE_SETUP_H
#define TSVM_TEST_DEVICE_SETUP_H

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "../src/virtio/queue_worker.h"
#include "fake_driver.h"

struct device_setup {
    struct fake_driver driver;
    struct queue_worker worker;
    int kick;
    int interrupt;
    struct interrupt_line line; /* signals `interrupt` */
    struct interrupt_line *lines[1];
    int ended_event; /* the worker's wake */
    uint32_t interrupt_status;
};

static inline void device_ended(void *context)
{
    eventfd_write(*(int *)context, 1);
}

static inline void device_init(struct device_setup *setup, uint16_t size)
{
    *setup = (struct device_setup){.kick = eventfd(0, EFD_NONBLOCK),
                                   .interrupt = eventfd(0, EFD_NONBLOCK),
                                   .ended_event = eventfd(0, EFD_NONBLOCK)};
    interrupt_line_init(&setup->line, setup->interrupt);
    setup->lines[0] = &setup->line;
    driver_init(&setup->driver, size);
}

/* `create` NULL: without an I/O engine. */
static inline int device_start(struct device_setup *setup, struct queue_handler *handler,
                               int (*create)(struct io_engine **))
{
    struct io_engine *engine = NULL;
    int error = create ? create(&engine) : 0;
    if (error < 0)
        return error;
    struct queue_worker_options options = {
        .memory = &setup->driver.memory,
        .queues = &setup->driver.config,
        .kicks = &setup->kick,
        .queue_count = 1,
        .interrupts = setup->lines,
        .interrupt_count = 1,
        .interrupt_status = &setup->interrupt_status,
        .handler = handler,
        .engine = engine,
        .wake = {.notify = device_ended, .context = &setup->ended_event},
    };
    return queue_worker_start(&setup->worker, &options);
}

/* True when the eventfd was signalled within the time; takes the signal. */
static inline bool event_wait(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    eventfd_t value;
    return poll(&poll_fd, 1, timeout_ms) == 1 && eventfd_read(fd, &value) == 0;
}

/* Waits until the thread has ended; false after some seconds. */
static inline bool device_await_end(struct device_setup *setup)
{
    return event_wait(setup->ended_event, 60000) && queue_worker_has_ended(&setup->worker);
}

static inline bool device_stop(struct device_setup *setup)
{
    queue_worker_stop(&setup->worker);
    bool ended = device_await_end(setup);
    queue_worker_free(&setup->worker);
    return ended;
}

static inline void device_free(struct device_setup *setup)
{
    driver_free(&setup->driver);
    close(setup->kick);
    interrupt_line_destroy(&setup->line);
    close(setup->interrupt);
    close(setup->ended_event);
}

/* Makes a chain available and kicks if the device wants it. */
static inline void device_offer(struct device_setup *setup, uint16_t head)
{
    uint16_t before = setup->driver.next_available;
    driver_offer(&setup->driver, head);
    if (driver_must_kick(&setup->driver, before))
        eventfd_write(setup->kick, 1);
}

/* Waits for a used entry; its id is UINT32_MAX if none arrives within some seconds. */
static inline struct vring_used_elem device_await_used(struct device_setup *setup)
{
    struct vring_used_elem element = {.id = UINT32_MAX};
    time_t end = time(NULL) + 60;
    while (!driver_take_used(&setup->driver, &element) && time(NULL) < end)
        sched_yield();
    return element;
}

#endif
