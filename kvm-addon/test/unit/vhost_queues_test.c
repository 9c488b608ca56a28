/* Queues that another process serves, with a backend in this process: a good one, and bad ones. */
#include "../../src/virtio/vhost_queues.h"

#include "../check.h"
#include "../device_setup.h"

#define SIZE 16u
#define RINGS_ADDRESS (1ull << 46)
#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT

struct setup {
    struct device_setup device;
    struct vhost_queues queues;
};

static void setup_init(struct setup *s)
{
    device_init(&s->device, SIZE);
    CHECK(vhost_queues_init(&s->queues, "tsvm-test", 2, SIZE, RINGS_ADDRESS) == 0);
    s->device.driver.config.index = 1;
    CHECK(device_start(&s->device, &s->queues.handler, NULL) == 0);
}

static void setup_free(struct setup *s)
{
    CHECK(device_stop(&s->device));
    vhost_queues_destroy(&s->queues);
    device_free(&s->device);
}

/* Offers a chain of 100 readable and 200 writable bytes; waits until the backend has it. */
static uint16_t offer(struct setup *s, uint16_t head)
{
    struct vhost_ring *ring = &s->queues.rings[1];
    uint16_t before = ring->available->idx;
    driver_describe(&s->device.driver, head, BUFFERS_GPA, 100, NEXT, head + 1);
    driver_describe(&s->device.driver, head + 1, HIGH_GPA, 200, WRITE, 0);
    device_offer(&s->device, head);
    CHECK(event_wait(ring->kick, 60000));
    CHECK(__atomic_load_n(&ring->available->idx, __ATOMIC_ACQUIRE) == (uint16_t)(before + 1));
    return ring->available->ring[before % SIZE];
}

/* The backend returns something. */
static void give_back(struct setup *s, uint32_t id, uint32_t bytes, uint16_t step)
{
    struct vhost_ring *ring = &s->queues.rings[1];
    ring->used->ring[ring->used->idx % SIZE] = (vring_used_elem_t){.id = id, .len = bytes};
    __atomic_store_n(&ring->used->idx, (uint16_t)(ring->used->idx + step), __ATOMIC_RELEASE);
    eventfd_write(ring->call.fd, 1);
}

static void chains_pass_through_with_guest_addresses(void)
{
    struct setup s;
    setup_init(&s);
    struct vhost_ring *ring = &s.queues.rings[1];
    for (unsigned i = 0; i < 3 * SIZE; i++) {
        uint16_t head = offer(&s, i % (SIZE - 1));
        struct vring_desc *table = ring->tables + head * SIZE;
        CHECK(ring->descriptors[head].flags == VRING_DESC_F_INDIRECT);
        CHECK(ring->descriptors[head].len == 32);
        CHECK(ring->descriptors[head].addr == vhost_queues_address(&s.queues, table));
        CHECK(ring->descriptors[head].addr >= RINGS_ADDRESS &&
              ring->descriptors[head].addr < RINGS_ADDRESS + s.queues.shared_bytes);
        CHECK(table[0].addr == BUFFERS_GPA && table[0].len == 100 && table[0].flags == NEXT &&
              table[0].next == 1);
        CHECK(table[1].addr == HIGH_GPA && table[1].len == 200 && table[1].flags == WRITE);
        give_back(&s, head, 150, 1);
        struct vring_used_elem used = device_await_used(&s.device);
        CHECK(used.id == i % (SIZE - 1) && used.len == 150);
    }
    CHECK(event_wait(s.device.interrupt, 60000));
    CHECK(s.queues.statistics.requests == 3 * SIZE);
    setup_free(&s);
}

static void empty_chains_do_not_reach_the_backend(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.device.driver, 0, BUFFERS_GPA, 0, WRITE, 0);
    device_offer(&s.device, 0);
    CHECK(device_await_used(&s.device).id == 0);
    CHECK(s.queues.rings[1].available->idx == 0);
    setup_free(&s);
}

static void stop_waits_for_the_backend_and_a_start_goes_on(void)
{
    struct setup s;
    setup_init(&s);
    uint16_t head = offer(&s, 0);
    queue_worker_stop(&s.device.worker);
    CHECK(!event_wait(s.device.ended_event, 50));
    give_back(&s, head, 1, 1);
    CHECK(device_await_end(&s.device));
    queue_worker_free(&s.device.worker);
    CHECK(device_await_used(&s.device).id == 0);
    CHECK(device_start(&s.device, &s.queues.handler, NULL) == 0);
    head = offer(&s, 4);
    give_back(&s, head, 1, 1);
    CHECK(device_await_used(&s.device).id == 4);
    setup_free(&s);
}

/* The worker ends with a broken queue, and the driver sees nothing more. */
static void expect_failure(struct setup *s, const char *word)
{
    struct vring_used_elem used;
    CHECK(device_await_end(&s->device));
    const char *reason = queue_worker_broken(&s->device.worker);
    CHECK(reason && strstr(reason, word));
    CHECK(!driver_take_used(&s->device.driver, &used));
    queue_worker_free(&s->device.worker);
}

static void nonsense_of_the_backend_breaks_the_queue(void)
{
    static const struct {
        uint32_t id; /* UINT32_MAX: the right one */
        uint32_t bytes;
        uint16_t step;
        const char *reason;
    } ANSWERS[] = {
        {SIZE, 0, 1, "does not have"},
        {UINT32_MAX - 1, 0, 1, "does not have"},
        {0, 0, 1, "does not have"},
        {UINT32_MAX, 201, 1, "wrote more"},
        {UINT32_MAX, UINT32_MAX, 1, "wrote more"},
        {UINT32_MAX, 0, SIZE + 1, "more chains"},
        {UINT32_MAX, 0, 0x8000, "more chains"},
    };
    for (unsigned i = 0; i < sizeof ANSWERS / sizeof *ANSWERS; i++) {
        struct setup s;
        setup_init(&s);
        uint16_t head = offer(&s, 0);
        give_back(&s, ANSWERS[i].id == UINT32_MAX ? head : ANSWERS[i].id, ANSWERS[i].bytes,
                  ANSWERS[i].step);
        expect_failure(&s, ANSWERS[i].reason);
        vhost_queues_destroy(&s.queues);
        device_free(&s.device);
    }
}

static void dead_backend_drops_its_chains_and_another_one_begins_anew(void)
{
    struct setup s;
    setup_init(&s);
    offer(&s, 0);
    offer(&s, 2);
    vhost_queues_fail(&s.queues);
    expect_failure(&s, "gone");
    CHECK(device_start(&s.device, &s.queues.handler, NULL) == -EPIPE);
    vhost_queues_reset(&s.queues);
    struct fake_driver *driver = &s.device.driver;
    driver->next_available = driver->available->idx = 0;
    CHECK(device_start(&s.device, &s.queues.handler, NULL) == 0);
    uint16_t head = offer(&s, 0);
    CHECK(s.queues.rings[1].available->idx == 1);
    give_back(&s, head, 7, 1);
    CHECK(device_await_used(&s.device).len == 7);
    setup_free(&s);
}

static void guests_hostile_chain_does_not_reach_the_backend(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.device.driver, 0, 0x7000000, 100, 0, 0);
    device_offer(&s.device, 0);
    expect_failure(&s, "not in guest memory");
    CHECK(s.queues.rings[1].available->idx == 0);
    vhost_queues_destroy(&s.queues);
    device_free(&s.device);
}

static void backend_cannot_resize_the_rings(void)
{
    struct vhost_queues queues;
    CHECK(vhost_queues_init(&queues, "t", 1, SIZE, 0) == 0);
    CHECK(ftruncate(queues.memory_fd, 0) < 0 && errno == EPERM);
    CHECK(ftruncate(queues.memory_fd, 1 << 30) < 0 && errno == EPERM);
    vhost_queues_destroy(&queues);
}

/* Each chain in flight has at least a descriptor: there is one more only if the driver lies. */
static void more_chains_than_descriptors_break_the_queue(void)
{
    struct setup s;
    setup_init(&s);
    for (unsigned i = 0; i <= SIZE; i++) {
        driver_describe(&s.device.driver, i % SIZE, BUFFERS_GPA, 100, 0, 0);
        device_offer(&s.device, i % SIZE);
        CHECK(i == SIZE || event_wait(s.queues.rings[1].kick, 60000));
    }
    /* What the backend has is waited for, and not shown to the driver. */
    CHECK(!event_wait(s.device.ended_event, 50));
    for (unsigned i = 0; i < SIZE; i++)
        give_back(&s, s.queues.rings[1].available->ring[i], 0, 1);
    expect_failure(&s, "more chains are available");
    vhost_queues_destroy(&s.queues);
    device_free(&s.device);
}

static void bad_sizes_are_refused(void)
{
    struct vhost_queues queues;
    CHECK(vhost_queues_init(&queues, "t", 0, SIZE, 0) == -EINVAL);
    CHECK(vhost_queues_init(&queues, "t", VHOST_QUEUES_MAX + 1, SIZE, 0) == -EINVAL);
    CHECK(vhost_queues_init(&queues, "t", 1, 0, 0) == -EINVAL);
    CHECK(vhost_queues_init(&queues, "t", 1, 24, 0) == -EINVAL);
    CHECK(vhost_queues_init(&queues, "t", 1, 2 * VHOST_QUEUE_SIZE_MAX, 0) == -EINVAL);
}

int main(void)
{
    chains_pass_through_with_guest_addresses();
    empty_chains_do_not_reach_the_backend();
    stop_waits_for_the_backend_and_a_start_goes_on();
    nonsense_of_the_backend_breaks_the_queue();
    dead_backend_drops_its_chains_and_another_one_begins_anew();
    guests_hostile_chain_does_not_reach_the_backend();
    backend_cannot_resize_the_rings();
    more_chains_than_descriptors_break_the_queue();
    bad_sizes_are_refused();
    return check_finish();
}
