/* The virtqueue against a driver that writes real rings; the lines of a hostile one by name. */
#include <errno.h>
#include <pthread.h>

#include "../check.h"
#include "../fake_driver.h"

#define SIZE 8
#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define TABLE_GPA (BUFFERS_GPA + 0x8000)

struct setup {
    struct fake_driver driver;
    struct virtqueue queue;
    struct virtqueue_chain chain;
    struct iovec iov[SIZE];
};

static void setup_init(struct setup *setup)
{
    driver_init(&setup->driver, SIZE);
    CHECK(virtqueue_init(&setup->queue, &setup->driver.memory, &setup->driver.config) == 0);
}

static int pop(struct setup *setup)
{
    return virtqueue_pop(&setup->queue, setup->iov, &setup->chain);
}

/* Offers chain 0 and expects it to be refused for a reason with this word, and the queue to stop.
 */
static void expect_broken(struct setup *setup, const char *word)
{
    driver_offer(&setup->driver, 0);
    CHECK(pop(setup) == -EPROTO);
    CHECK(setup->queue.broken && strstr(setup->queue.broken, word));
    CHECK(pop(setup) == -EPROTO);
    CHECK(!virtqueue_has_available(&setup->queue));
    driver_free(&setup->driver);
}

static void chain_is_taken_and_returned(void)
{
    struct setup s;
    setup_init(&s);
    CHECK(pop(&s) == 0);
    driver_describe(&s.driver, 3, BUFFERS_GPA, 16, NEXT, 5);
    driver_describe(&s.driver, 5, BUFFERS_GPA + 512, 512, NEXT | WRITE, 1);
    driver_describe(&s.driver, 1, HIGH_GPA, 1, WRITE, 0);
    driver_offer(&s.driver, 3);
    CHECK(virtqueue_has_available(&s.queue));
    CHECK(pop(&s) == 1);
    CHECK(s.chain.head == 3);
    CHECK(s.chain.readable_count == 1 && s.chain.readable_bytes == 16);
    CHECK(s.chain.writable_count == 2 && s.chain.writable_bytes == 513);
    CHECK(s.iov[0].iov_base == driver_at(&s.driver, BUFFERS_GPA) && s.iov[0].iov_len == 16);
    CHECK(s.iov[2].iov_base == driver_at(&s.driver, HIGH_GPA) && s.iov[2].iov_len == 1);
    CHECK(pop(&s) == 0);

    struct vring_used_elem element;
    virtqueue_push(&s.queue, 3, 513);
    CHECK(!driver_take_used(&s.driver, &element));
    CHECK(virtqueue_publish(&s.queue));
    CHECK(driver_take_used(&s.driver, &element) && element.id == 3 && element.len == 513);
    CHECK(!virtqueue_publish(&s.queue)); /* nothing new, no interrupt */
    driver_free(&s.driver);
}

/* Both indices pass 65,535, with chains in flight. */
static void indices_wrap(void)
{
    struct setup s;
    setup_init(&s);
    unsigned good = 0;
    for (unsigned i = 0; i < SIZE; i++)
        driver_describe(&s.driver, (uint16_t)i, BUFFERS_GPA + i, 1, WRITE, 0);
    for (unsigned i = 0; i < 70000; i++) {
        struct vring_used_elem element;
        driver_offer(&s.driver, (uint16_t)(i % SIZE));
        bool popped = pop(&s) == 1 && s.chain.head == i % SIZE;
        virtqueue_push(&s.queue, s.chain.head, i);
        virtqueue_publish(&s.queue);
        good += popped && driver_take_used(&s.driver, &element) && element.len == i;
    }
    CHECK(good == 70000);
    driver_free(&s.driver);
}

/* A stopped device goes on where it stood. */
static void restart_goes_on_from_the_used_index(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 1, WRITE, 0);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1);
    virtqueue_push(&s.queue, 0, 1);
    virtqueue_publish(&s.queue);
    CHECK(virtqueue_init(&s.queue, &s.driver.memory, &s.driver.config) == 0);
    CHECK(pop(&s) == 0);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1);
    driver_free(&s.driver);
}

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

static void chain_as_long_as_the_queue(void)
{
    struct setup s;
    setup_init(&s);
    for (uint16_t i = 0; i < SIZE; i++)
        driver_describe(&s.driver, i, BUFFERS_GPA + i, 1, i < SIZE - 1 ? NEXT : 0, i + 1);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1);
    CHECK(s.chain.readable_count == SIZE);
    driver_free(&s.driver);
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
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
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
    for (unsigned i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
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

static void zero_length_buffers(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, 0, 0, NEXT, 1); /* its address means nothing */
    driver_describe(&s.driver, 1, BUFFERS_GPA, 4, NEXT, 2);
    driver_describe(&s.driver, 2, UINT64_MAX, 0, NEXT | WRITE, 3);
    driver_describe(&s.driver, 3, BUFFERS_GPA, 0, WRITE, 0);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1);
    CHECK(s.chain.readable_count == 1 && s.chain.readable_bytes == 4);
    CHECK(s.chain.writable_count == 0 && s.chain.writable_bytes == 0);
    driver_free(&s.driver);
}

static void indirect_table_is_followed(void)
{
    struct setup s;
    setup_init(&s);
    struct vring_desc *table = driver_at(&s.driver, TABLE_GPA);
    descriptor_set(&table[0], BUFFERS_GPA, 16, NEXT, 2);
    descriptor_set(&table[2], BUFFERS_GPA + 16, 32, WRITE, 0);
    /* 2.7.5.3.2: after normal descriptors, and with a write flag to be ignored. */
    driver_describe(&s.driver, 0, BUFFERS_GPA + 64, 8, NEXT, 4);
    driver_describe(&s.driver, 4, TABLE_GPA, 3 * 16, INDIRECT | WRITE, 0);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1);
    CHECK(s.chain.readable_count == 2 && s.chain.readable_bytes == 24);
    CHECK(s.chain.writable_count == 1 && s.chain.writable_bytes == 32);
    driver_free(&s.driver);
}

static void indirect_table_unaligned(void)
{
    struct setup s;
    setup_init(&s);
    struct vring_desc descriptor;
    descriptor_set(&descriptor, BUFFERS_GPA, 16, 0, 0);
    memcpy(driver_at(&s.driver, TABLE_GPA + 3), &descriptor, sizeof(descriptor));
    driver_describe(&s.driver, 0, TABLE_GPA + 3, 16, INDIRECT, 0);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1); /* the specification does not ask for an alignment */
    CHECK(s.chain.readable_bytes == 16);
    driver_free(&s.driver);
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
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
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

/* 2.7.10: used_event says after which entry the driver wants an interrupt. */
static void interrupts_follow_used_event(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 1, WRITE, 0);
    for (unsigned i = 0; i < 6; i++) {
        driver_offer(&s.driver, 0);
        CHECK(pop(&s) == 1);
    }
    driver_set_used_event(&s.driver, 2); /* wants the third */
    virtqueue_push(&s.queue, 0, 1);
    CHECK(!virtqueue_publish(&s.queue));
    virtqueue_push(&s.queue, 0, 1);
    CHECK(!virtqueue_publish(&s.queue));
    virtqueue_push(&s.queue, 0, 1);
    virtqueue_push(&s.queue, 0, 1); /* in the middle of a batch */
    CHECK(virtqueue_publish(&s.queue));
    virtqueue_push(&s.queue, 0, 1);
    CHECK(!virtqueue_publish(&s.queue));
    driver_free(&s.driver);
}

static void interrupts_follow_the_flag(void)
{
    struct setup s;
    driver_init(&s.driver, SIZE);
    s.driver.config.event_idx = false;
    CHECK(virtqueue_init(&s.queue, &s.driver.memory, &s.driver.config) == 0);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 1, WRITE, 0);
    for (unsigned i = 0; i < 2; i++) {
        driver_offer(&s.driver, 0);
        CHECK(pop(&s) == 1);
    }
    s.driver.available->flags = VRING_AVAIL_F_NO_INTERRUPT;
    virtqueue_push(&s.queue, 0, 1);
    CHECK(!virtqueue_publish(&s.queue));
    s.driver.available->flags = 0;
    virtqueue_push(&s.queue, 0, 1);
    CHECK(virtqueue_publish(&s.queue));
    driver_free(&s.driver);
}

static void kicks_are_suppressed(bool event_idx)
{
    struct setup s;
    driver_init(&s.driver, SIZE);
    s.driver.config.event_idx = event_idx;
    CHECK(virtqueue_init(&s.queue, &s.driver.memory, &s.driver.config) == 0);
    driver_describe(&s.driver, 0, BUFFERS_GPA, 1, WRITE, 0);
    virtqueue_enable_kicks(&s.queue);
    CHECK(!virtqueue_has_available(&s.queue));
    driver_offer(&s.driver, 0);
    CHECK(driver_must_kick(&s.driver, 0));
    virtqueue_disable_kicks(&s.queue);
    CHECK(pop(&s) == 1);
    for (uint16_t i = 1; i < 4; i++) {
        driver_offer(&s.driver, 0);
        CHECK(!driver_must_kick(&s.driver, i));
    }
    virtqueue_enable_kicks(&s.queue);
    CHECK(virtqueue_has_available(&s.queue)); /* they came without a kick */
    while (pop(&s) == 1)
        virtqueue_push(&s.queue, 0, 0);
    virtqueue_enable_kicks(&s.queue);
    driver_offer(&s.driver, 0);
    CHECK(driver_must_kick(&s.driver, 4));
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
    chain_is_taken_and_returned();
    indices_wrap();
    restart_goes_on_from_the_used_index();
    descriptor_loop();
    chain_as_long_as_the_queue();
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
    zero_length_buffers();
    indirect_table_is_followed();
    indirect_table_unaligned();
    indirect_table_nested();
    indirect_table_oversized();
    indirect_table_bad_length();
    indirect_table_with_next_on_the_last_entry();
    indirect_descriptor_with_next();
    indirect_table_outside_memory();
    indirect_not_negotiated();
    broken_queue_is_left_alone();
    interrupts_follow_used_event();
    interrupts_follow_the_flag();
    kicks_are_suppressed(true);
    kicks_are_suppressed(false);
    descriptor_changes_after_the_check();
    return check_finish();
}
