/* The virtqueue with a driver that does what it must not; each line of the threat model by name. */
#include <pthread.h>

#include "../virtqueue_setup.h"

static void descriptor_loop(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 1, NEXT, 1);
    driver_describe(&s.driver, 1, BUFFERS_GPA, 1, NEXT, 0);
    expect_broken(&s, "loops");
    setup_init(&s);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 0, NEXT, 0); /* of empty buffers, too */
    expect_broken(&s, "loops");
}

static void head_outside_the_queue(void)
{
    struct setup s;
    setup_init(&s);
    driver_offer(&s.driver, SIZE);
    CHECK(pop(&s) == -EPROTO);
    driver_free(&s.driver);
}

static void next_outside_the_table(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 1, NEXT, SIZE);
    expect_broken(&s, "next");
}

static void available_index_too_far_ahead(void)
{
    struct setup s;
    setup_init(&s);
    s.driver.next_available = SIZE; /* the offer makes it one too many */
    expect_broken(&s, "further ahead");
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

static void rings_unaligned(void)
{
    struct setup s;
    setup_init(&s);
    struct virtqueue_config config = s.driver.config;
    config.descriptor_gpa += 8;
    CHECK(init_with(&s, config) == -EINVAL);
    config = s.driver.config;
    config.available_gpa += 1;
    CHECK(init_with(&s, config) == -EINVAL);
    config = s.driver.config;
    config.used_gpa += 2;
    CHECK(init_with(&s, config) == -EINVAL);
    driver_free(&s.driver);
}

static void rings_outside_memory(void)
{
    struct setup s;
    setup_init(&s);
    const uint64_t places[] = {0, LOW_GPA - 16, LOW_GPA + LOW_SIZE, HIGH_GPA + HIGH_SIZE,
                               UINT64_MAX - 15};
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct virtqueue_config config = s.driver.config;
        config.descriptor_gpa = places[i];
        CHECK(init_with(&s, config) == -EINVAL);
        config = s.driver.config;
        config.available_gpa = places[i];
        CHECK(init_with(&s, config) == -EINVAL);
        config = s.driver.config;
        config.used_gpa = places[i];
        CHECK(init_with(&s, config) == -EINVAL);
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

static void buffer_outside_memory(void)
{
    const struct {
        uint64_t gpa;
        uint32_t length;
    } buffers[] = {
        {0, 1},
        {LOW_GPA - 1, 2},
        {LOW_GPA + LOW_SIZE - 1, 2},
        {LOW_GPA + LOW_SIZE - 1, UINT32_MAX},
        {UINT64_MAX, 1},
        {UINT64_MAX, 2}, /* address + length overflows */
        {UINT64_MAX - 0xfffe, 0x10000 + LOW_GPA},
    };
    for (unsigned i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        struct setup s;
        setup_init(&s);
        driver_describe(&s.driver, 0, buffers[i].gpa, buffers[i].length, WRITE, 0);
        expect_broken(&s, "not in guest memory");
    }
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

static void readable_after_writable(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 1, WRITE | NEXT, 1);
    driver_describe(&s.driver, 1, BUFFERS_GPA, 1, 0, 0);
    expect_broken(&s, "readable");
}

static void indirect_table_nested(void)
{
    struct setup s;
    setup_init(&s);
    descriptor_set(driver_at(&s.driver, TABLE_GPA), TABLE_GPA, 16, INDIRECT, 0);
    driver_describe(&s.driver, 0, TABLE_GPA, 16, INDIRECT, 0);
    expect_broken(&s, "nested");
    /* An indirect descriptor whose table is the queue's own, and so itself. */
    setup_init(&s);
    driver_describe(&s.driver, 0, DESCRIPTORS_GPA, SIZE * 16, INDIRECT, 0);
    expect_broken(&s, "nested");
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

static void indirect_table_bad_length(void)
{
    const uint32_t lengths[] = {0, 1, 15, 17, UINT32_MAX};
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct setup s;
        setup_init(&s);
        driver_describe(&s.driver, 0, TABLE_GPA, lengths[i], INDIRECT, 0);
        expect_broken(&s, "length");
    }
}

static void indirect_table_with_next_on_the_last_entry(void)
{
    struct setup s;
    setup_init(&s);
    descriptor_set(driver_at(&s.driver, TABLE_GPA), BUFFERS_GPA, 1, NEXT, 1);
    driver_describe(&s.driver, 0, TABLE_GPA, 16, INDIRECT, 0);
    expect_broken(&s, "next");
}

static void indirect_descriptor_with_next(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, TABLE_GPA, 16, INDIRECT | NEXT, 1);
    expect_broken(&s, "next");
}

static void indirect_table_outside_memory(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, LOW_GPA + LOW_SIZE - 16, 32, INDIRECT, 0);
    expect_broken(&s, "not in guest memory");
}

static void indirect_not_negotiated(void)
{
    struct setup s;
    driver_init(&s.driver, SIZE);
    s.driver.config.indirect = false;
    CHECK(virtqueue_init(&s.queue, &s.driver.memory, &s.driver.config) == 0);
    descriptor_set(driver_at(&s.driver, TABLE_GPA), BUFFERS_GPA, 1, 0, 0);
    driver_describe(&s.driver, 0, TABLE_GPA, 16, INDIRECT, 0);
    expect_broken(&s, "negotiated");
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

int main(void)
{
    descriptor_loop();
    head_outside_the_queue();
    next_outside_the_table();
    available_index_too_far_ahead();
    more_chains_than_descriptors();
    queue_sizes();
    rings_unaligned();
    rings_outside_memory();
    rings_across_a_hole();
    rings_overlapping();
    buffer_outside_memory();
    sum_of_lengths_overflows();
    readable_after_writable();
    indirect_table_nested();
    indirect_table_oversized();
    indirect_table_bad_length();
    indirect_table_with_next_on_the_last_entry();
    indirect_descriptor_with_next();
    indirect_table_outside_memory();
    indirect_not_negotiated();
    broken_queue_is_left_alone();
    descriptor_changes_after_the_check();
    return check_finish();
}
