/* The virtqueue with a driver that violates the specification. */
#include <pthread.h>

#include "../../../test/vectors/hostile_rings.h"
#include "../host_file.h"
#include "../virtqueue_setup.h"

static const struct hostile_layout layout = {
    .buffer = BUFFERS_GPA,
    .table = TABLE_GPA,
    .queue = DESCRIPTORS_GPA,
    .ram_end = LOW_GPA + LOW_SIZE,
    .size = SIZE,
};

static void hostile_ring_is_refused(const struct hostile_ring *ring)
{
    struct setup s;
    driver_init(&s.driver, SIZE);
    s.driver.config.indirect = !ring->without_indirect;
    CHECK(virtqueue_init(&s.queue, &s.driver.memory, &s.driver.config) == 0);
    hostile_ring_write(&layout, ring, s.driver.descriptors, driver_at(&s.driver, TABLE_GPA),
                       s.driver.available);
    s.driver.available->idx = hostile_available(&layout, ring);
    bool refused = pop(&s) == -EPROTO && s.queue.broken && strstr(s.queue.broken, ring->reason) &&
                   pop(&s) == -EPROTO && !virtqueue_has_available(&s.queue);
    if (!CHECK(refused))
        fprintf(stderr, "%s: %s\n", ring->name, s.queue.broken ? s.queue.broken : "accepted");
    driver_free(&s.driver);
}

static void hostile_rings_are_refused(void)
{
    for (unsigned i = 0; i < HOSTILE_RING_COUNT; i++)
        hostile_ring_is_refused(&hostile_rings[i]);
}

static void more_chains_than_descriptors(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 1, 0, 0);
    for (unsigned i = 0; i < SIZE; i++) {
        driver_offer(&s.driver, 0);
        CHECK(pop(&s) == 1);
    }
    expect_broken(&s, "more chains");
}

static int init_with(struct setup *setup, struct virtqueue_config config)
{
    return virtqueue_init(&setup->queue, &setup->driver.memory, &config);
}

static void queue_sizes(void)
{
    struct setup s;
    setup_init(&s);
    struct virtqueue_config config = s.driver.config;
    for (uint32_t size = 0; size < 20; size++) {
        config.size = size;
        bool good = size == 1 || size == 2 || size == 4 || size == 8 || size == 16;
        CHECK(init_with(&s, config) == (good ? 0 : -EINVAL));
    }
    config.size = 65536; /* above the maximum, and 0 in 16 bits */
    CHECK(init_with(&s, config) == -EINVAL);
    driver_free(&s.driver);
}

static void hostile_placements_are_refused(void)
{
    struct setup s;
    setup_init(&s);
    for (unsigned i = 0; i < HOSTILE_PLACEMENT_COUNT; i++) {
        uint64_t gpas[] = {DESCRIPTORS_GPA, AVAILABLE_GPA, USED_GPA};
        hostile_placement_apply(&hostile_placements[i], &layout, gpas);
        struct virtqueue_config config = s.driver.config;
        config.descriptor_gpa = gpas[HOSTILE_DESCRIPTOR_TABLE];
        config.available_gpa = gpas[HOSTILE_AVAILABLE_RING];
        config.used_gpa = gpas[HOSTILE_USED_RING];
        if (!CHECK(init_with(&s, config) == -EINVAL))
            fprintf(stderr, "%s\n", hostile_placements[i].name);
    }
    driver_free(&s.driver);
}

/* The last byte of a ring, its event field included, counts. */
static void rings_across_a_hole(void)
{
    struct setup s;
    setup_init(&s);
    const uint64_t end = LOW_GPA + LOW_SIZE;
    struct virtqueue_config config = s.driver.config;
    config.descriptor_gpa = end - SIZE * 16;
    config.available_gpa = end - (6 + SIZE * 2);
    config.used_gpa = end - (8 + SIZE * 8);
    CHECK(init_with(&s, config) == 0);
    config.descriptor_gpa += 16;
    CHECK(init_with(&s, config) == -EINVAL);
    config.descriptor_gpa -= 16;
    config.available_gpa += 2;
    CHECK(init_with(&s, config) == -EINVAL);
    config.available_gpa -= 2;
    config.used_gpa += 4;
    CHECK(init_with(&s, config) == -EINVAL);
    driver_free(&s.driver);
}

/* The guest only confuses itself: what it reads back is its own doing. */
static void rings_overlapping(void)
{
    struct setup s;
    setup_init(&s);
    struct virtqueue_config config = s.driver.config;
    config.available_gpa = config.used_gpa = config.descriptor_gpa;
    CHECK(init_with(&s, config) == 0);
    for (unsigned i = 0; i < 100; i++) {
        s.driver.descriptors[i % SIZE].addr = BUFFERS_GPA + i;
        if (pop(&s) == 1)
            virtqueue_push(&s.queue, s.chain.head, i);
        virtqueue_publish(&s.queue);
    }
    driver_free(&s.driver);
}

/* Lengths that add up to 4 GiB and so to 0 in 32 bits. */
static void sum_of_lengths_overflows(void)
{
    struct setup s;
    driver_init(&s.driver, 512);
    CHECK(virtqueue_init(&s.queue, &s.driver.memory, &s.driver.config) == 0);
    struct iovec iov[512];
    for (uint16_t i = 0; i < 256; i++)
        driver_describe(&s.driver, i, LOW_GPA, LOW_SIZE, WRITE | (i < 255 ? NEXT : 0), i + 1);
    driver_offer(&s.driver, 0);
    CHECK(virtqueue_pop(&s.queue, iov, &s.chain) == -EPROTO);
    CHECK(strstr(s.queue.broken, "4 GiB"));
    driver_free(&s.driver);
}

static void indirect_table_oversized(void)
{
    struct setup s;
    setup_init(&s);
    struct vring_desc *table = driver_at(&s.driver, TABLE_GPA);
    for (uint16_t i = 0; i <= SIZE; i++)
        descriptor_set(&table[i], BUFFERS_GPA, 1, i < SIZE ? NEXT : 0, i + 1);
    driver_describe(&s.driver, 0, TABLE_GPA, (SIZE + 1) * 16, INDIRECT, 0);
    expect_broken(&s, "more descriptors");
    setup_init(&s);
    driver_describe(&s.driver, 0, TABLE_GPA, UINT32_MAX - 15, INDIRECT, 0);
    expect_broken(&s, "not in guest memory");
}

/* A broken queue's used ring stays as it was. */
static void broken_queue_is_left_alone(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 1, WRITE, 0);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1);
    driver_offer(&s.driver, SIZE);
    CHECK(pop(&s) == -EPROTO);
    virtqueue_push(&s.queue, 0, 1);
    CHECK(!virtqueue_publish(&s.queue));
    CHECK(s.queue.in_flight == 0);
    CHECK(s.driver.used->idx == 0 && s.driver.used->ring[0].len == 0);
    driver_free(&s.driver);
}

static void *scribble(void *argument)
{
    struct fake_driver *driver = argument;
    struct vring_desc *descriptor = &driver->descriptors[0];
    for (unsigned i = 0; i < 300000; i++) {
        bool good = i % 2 == 0;
        __atomic_store_n(&descriptor->addr, good ? BUFFERS_GPA : LOW_GPA + LOW_SIZE - 8,
                         __ATOMIC_RELAXED);
        __atomic_store_n(&descriptor->len, good ? 64 : 8, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* What was checked is what is used: no iovec ever leaves guest memory. */
static void descriptor_changes_after_the_check(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 64, WRITE, 0);
    pthread_t thread;
    pthread_create(&thread, NULL, scribble, &s.driver);
    uint8_t *low = driver_at(&s.driver, LOW_GPA);
    unsigned outside = 0;
    for (unsigned i = 0; i < 100000; i++) {
        driver_offer(&s.driver, 0);
        if (pop(&s) < 0) { /* address and length of two different writes */
            s.queue.broken = NULL;
            s.queue.next_available++;
            continue;
        }
        uint64_t offset = (uint64_t)((uint8_t *)s.iov[0].iov_base - low);
        outside += offset + s.iov[0].iov_len > LOW_SIZE;
        virtqueue_push(&s.queue, 0, 0);
        virtqueue_publish(&s.queue);
    }
    pthread_join(thread, NULL);
    CHECK(outside == 0);
    driver_free(&s.driver);
}

/* The driver may have the device read it, and not write it. */
static void read_only_memory(void)
{
    const uint64_t gpa = HIGH_GPA + (1ull << 30);
    struct guest_memory_source file = {.backing = GUEST_MEMORY_PERSISTENT,
                                       .fd = memory_file(4096),
                                       .file_size = 4096,
                                       .read_only = true};
    struct setup s;
    setup_init(&s);
    CHECK(guest_memory_add_from(&s.driver.memory, gpa, 4096, &file) == 0);
    driver_describe(&s.driver, 0, gpa, 4096, NEXT, 1);
    driver_describe(&s.driver, 1, BUFFERS_GPA, 1, WRITE, 0);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1 && s.iov[0].iov_base == s.driver.memory.regions[2].hva);
    virtqueue_push(&s.queue, 0, 1);
    driver_describe(&s.driver, 0, gpa + 8, 1, WRITE, 0);
    expect_broken(&s, "memory");
    /* Nor does it have rings or tables there. */
    setup_init(&s);
    CHECK(guest_memory_add_from(&s.driver.memory, gpa, 4096, &file) == 0);
    driver_describe(&s.driver, 0, gpa, 16, INDIRECT, 0);
    s.queue.indirect = true;
    expect_broken(&s, "memory");
    setup_init(&s);
    CHECK(guest_memory_add_from(&s.driver.memory, gpa, 4096, &file) == 0);
    struct virtqueue_config config = s.driver.config;
    config.used_gpa = gpa;
    CHECK(virtqueue_init(&s.queue, &s.driver.memory, &config) == -EINVAL);
    driver_free(&s.driver);
    close(file.fd);
}

int main(void)
{
    hostile_rings_are_refused();
    hostile_placements_are_refused();
    more_chains_than_descriptors();
    queue_sizes();
    rings_across_a_hole();
    rings_overlapping();
    sum_of_lengths_overflows();
    indirect_table_oversized();
    broken_queue_is_left_alone();
    read_only_memory();
    descriptor_changes_after_the_check();
    return check_finish();
}
