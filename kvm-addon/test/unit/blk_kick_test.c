/* Kicks of a block device that come from a thread of this process and find its worker asleep. */
#include "../blk_setup.h"

#include <fcntl.h>
#include <pthread.h>

#include "../../src/util/doorbell.h"

static const uint64_t *at_once(const struct setup *s)
{
    return &s->device.worker.statistics.at_once;
}

/* The worker polls for a while after a request before it sleeps. */
static bool await_sleep(struct setup *s)
{
    time_t end = time(NULL) + 60;
    bool sleeps = false;
    while (!sleeps && time(NULL) < end) {
        pthread_mutex_lock(&s->device.worker.turn);
        sleeps = s->device.worker.sleeping;
        pthread_mutex_unlock(&s->device.worker.turn);
        sched_yield();
    }
    return sleeps;
}

/* Chain `head / 3` of a read whose data and status are its own. */
static void describe_read(struct setup *s, uint16_t head, uint64_t sector)
{
    uint64_t header = HEADER_GPA + head * 0x10u;
    *(struct virtio_blk_outhdr *)at(s, header) =
        (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_IN, .sector = sector};
    *at(s, STATUS_GPA + head) = NO_STATUS;
    describe(s, head, header, 16, NEXT);
    describe(s, head + 1, DATA_GPA + head * 0x1000u, 512, NEXT | WRITE);
    describe(s, head + 2, STATUS_GPA + head, 1, WRITE);
    driver_offer(&s->device.driver, head);
}

static bool is_done(struct setup *s, uint16_t head, uint64_t sector)
{
    struct vring_used_elem element;
    return driver_take_used(&s->device.driver, &element) && element.id == head &&
           *at(s, STATUS_GPA + head) == VIRTIO_BLK_S_OK &&
           file_is(s, sector * 512, at(s, DATA_GPA + head * 0x1000u), 512);
}

static void cached_read_is_served_by_the_thread_that_kicks(bool event_idx)
{
    struct setup s;
    setup_open(&s, false);
    s.device.driver.config.event_idx = event_idx;
    setup_start(&s, true, io_engine_create_threads);
    CHECK(await_sleep(&s));
    for (uint64_t sector = 0; sector < 40; sector++) {
        uint16_t before = s.device.driver.next_available;
        describe_read(&s, 0, sector);
        CHECK(driver_must_kick(&s.device.driver, before));
        CHECK(queue_worker_serve_kick(&s.device.worker));
        CHECK(is_done(&s, 0, sector));
        CHECK(s.device.interrupt_status == 1);
    }
    CHECK(counter_read(at_once(&s)) == 40);
    CHECK(counter_read(&s.device.worker.statistics.chains) == 40);
    CHECK(s.blk.statistics.reads == 40);
    CHECK(counter_read(&s.device.worker.statistics.sleeps) == 1);
    setup_free(&s);
}

/* Requests that have to wait, or are large, are left to the worker. */
static void the_rest_is_left_to_the_worker(void)
{
    struct setup s;
    setup_init(&s);
    CHECK(await_sleep(&s));
    set_header(&s, VIRTIO_BLK_T_OUT, 0);
    describe(&s, 0, HEADER_GPA, 16, NEXT);
    describe(&s, 1, DATA_GPA, 512, NEXT);
    describe(&s, 2, STATUS_GPA, 1, WRITE);
    driver_offer(&s.device.driver, 0);
    CHECK(!queue_worker_serve_kick(&s.device.worker));
    CHECK(*at(&s, STATUS_GPA) == NO_STATUS);
    eventfd_write(s.device.kick, 1);
    CHECK(device_await_used(&s.device).id == 0 && *at(&s, STATUS_GPA) == VIRTIO_BLK_S_OK);

    CHECK(await_sleep(&s));
    uint64_t before = counter_read(at_once(&s));
    for (uint16_t head = 0; head < 12; head += 3)
        describe_read(&s, head, head);
    CHECK(!queue_worker_serve_kick(&s.device.worker));
    CHECK(counter_read(at_once(&s)) == before);
    eventfd_write(s.device.kick, 1);
    for (uint16_t i = 0; i < 4; i++)
        CHECK(device_await_used(&s.device).id < 12);
    setup_free(&s);
}

static void uncached_read_is_left_to_the_worker(void)
{
    struct setup s;
    setup_init(&s);
    CHECK(await_sleep(&s));
    CHECK(fdatasync(s.fd) == 0);
    CHECK(posix_fadvise(s.fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    describe_read(&s, 0, 7);
    /* A file system in memory keeps it all the same. */
    if (!queue_worker_serve_kick(&s.device.worker))
        eventfd_write(s.device.kick, 1);
    time_t end = time(NULL) + 60;
    bool done;
    while (!(done = is_done(&s, 0, 7)) && time(NULL) < end)
        sched_yield();
    CHECK(done);
    setup_free(&s);
}

static void broken_ring_ends_the_worker(void)
{
    struct setup s;
    setup_init(&s);
    CHECK(await_sleep(&s));
    driver_offer(&s.device.driver, 999);
    CHECK(!queue_worker_serve_kick(&s.device.worker));
    eventfd_write(s.device.kick, 1);
    CHECK(device_await_end(&s.device));
    CHECK(queue_worker_broken(&s.device.worker));
    CHECK(!queue_worker_serve_kick(&s.device.worker));
    queue_worker_free(&s.device.worker);
    setup_close(&s);
}

/* The worker or this thread serves it. */
static void read_one(struct setup *s, uint64_t sector)
{
    uint16_t before = s->device.driver.next_available;
    describe_read(s, 0, sector);
    if (driver_must_kick(&s->device.driver, before) && !queue_worker_serve_kick(&s->device.worker))
        eventfd_write(s->device.kick, 1);
    CHECK(device_await_used(&s->device).id == 0);
}

/* More than a kicking thread serves: the worker wakes up. */
static void read_batch(struct setup *s)
{
    for (uint16_t head = 0; head < 12; head += 3)
        describe_read(s, head, head);
    CHECK(!queue_worker_serve_kick(&s->device.worker));
    eventfd_write(s->device.kick, 1);
    for (uint16_t i = 0; i < 4; i++)
        CHECK(device_await_used(&s->device).id < 12);
}

/* Reads by many batches, each of which has woken the worker. Returns how many were left to others.
 */
static uint64_t batches_serve(struct setup *s, unsigned batches, unsigned reads)
{
    uint64_t before = counter_read(at_once(s));
    for (unsigned batch = 0; batch < batches; batch++) {
        CHECK(await_sleep(s));
        read_batch(s);
        for (unsigned i = 0; i < reads; i++)
            read_one(s, i);
    }
    return counter_read(at_once(s)) - before;
}

/* The driver's next request always comes while the worker still polls, if the host has a core for
 * each, which may take a while. */
static void worker_that_polls_leaves_the_next_kicks_to_others(bool event_idx)
{
    const unsigned batches = 40, reads = 50;
    unsigned tries = 0;
    uint64_t left = 0;
    time_t end = time(NULL) + 60;
    struct io_engine *engine;
    struct setup s;
    if (io_engine_create_io_uring(&engine) < 0) {
        printf("skipped: no io_uring\n");
        return;
    }
    io_engine_destroy(engine);
    setup_open(&s, false);
    s.device.driver.config.event_idx = event_idx;
    setup_start(&s, true, io_engine_create_io_uring);
    for (; left <= batches * reads / 2 && time(NULL) < end; tries++)
        left = batches_serve(&s, batches, reads);
    CHECK(left > batches * reads / 2);
    CHECK(counter_read(&s.device.worker.statistics.chains) == tries * batches * (reads + 4));
    setup_free(&s);
}

struct kicker {
    struct doorbell *bell;
    bool stop; /* atomic */
};

static void *kick_on_and_on(void *argument)
{
    struct kicker *kicker = argument;
    while (!__atomic_load_n(&kicker->stop, __ATOMIC_RELAXED)) {
        doorbell_ring(kicker->bell);
        sched_yield();
    }
    return NULL;
}

/* As a pause and the end of a machine do while another vCPU rings. */
static void stop_amid_kicks(void)
{
    struct setup s;
    struct doorbell bell;
    struct kicker kicker = {.bell = &bell};
    pthread_t thread;
    setup_open(&s, false);
    doorbell_init(&bell, s.device.kick);
    CHECK(pthread_create(&thread, NULL, kick_on_and_on, &kicker) == 0);
    for (unsigned round = 0; round < 20; round++) {
        setup_start(&s, round == 0, io_engine_create_threads);
        doorbell_set_answer(&bell, queue_worker_serve_kick, &s.device.worker);
        for (uint64_t sector = 0; sector < 20; sector++) {
            describe_read(&s, 0, sector);
            CHECK(device_await_used(&s.device).id == 0);
        }
        queue_worker_stop(&s.device.worker);
        CHECK(device_await_end(&s.device));
        doorbell_set_answer(&bell, NULL, NULL);
        queue_worker_free(&s.device.worker);
    }
    __atomic_store_n(&kicker.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(counter_read(&s.device.worker.statistics.chains) == 400);
    doorbell_destroy(&bell);
    setup_close(&s);
}

int main(void)
{
    cached_read_is_served_by_the_thread_that_kicks(false);
    cached_read_is_served_by_the_thread_that_kicks(true);
    the_rest_is_left_to_the_worker();
    uncached_read_is_left_to_the_worker();
    worker_that_polls_leaves_the_next_kicks_to_others(false);
    worker_that_polls_leaves_the_next_kicks_to_others(true);
    broken_ring_ends_the_worker();
    stop_amid_kicks();
    return check_finish();
}
