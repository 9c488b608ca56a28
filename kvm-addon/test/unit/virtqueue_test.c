/* The virtqueue with a driver that keeps to the specification. */
#include "../virtqueue_setup.h"

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
    memcpy(driver_at(&s.driver, TABLE_GPA + 3), &descriptor, sizeof descriptor);
    driver_describe(&s.driver, 0, TABLE_GPA + 3, 16, INDIRECT, 0);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1); /* the specification does not ask for an alignment */
    CHECK(s.chain.readable_bytes == 16);
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

static bool page_is_dirty(const uint64_t *bitmap, uint64_t gpa)
{
    uint64_t page = (gpa - LOW_GPA) / GUEST_MEMORY_PAGE_SIZE;
    return bitmap[page / 64] >> page % 64 & 1;
}

/* What the device writes is in the log: buffers, through an indirect table too, and its ring. */
static void writes_are_logged(void)
{
    static uint64_t bitmap[LOW_SIZE / GUEST_MEMORY_PAGE_SIZE / 64 + 1];
    struct setup s;
    setup_init(&s);
    CHECK(guest_memory_start_log(&s.driver.memory) == 0);
    virtqueue_enable_kicks(&s.queue);
    guest_memory_take_dirty(&s.driver.memory, 0, bitmap);
    CHECK(page_is_dirty(bitmap, USED_GPA));
    memset(bitmap, 0, sizeof bitmap);
    struct vring_desc *table = driver_at(&s.driver, TABLE_GPA);
    descriptor_set(&table[0], BUFFERS_GPA, 16, NEXT, 1);
    descriptor_set(&table[1], BUFFERS_GPA + 0x1ff0, 0x20, WRITE, 0);
    driver_describe(&s.driver, 0, TABLE_GPA, 2 * 16, INDIRECT, 0);
    driver_offer(&s.driver, 0);
    CHECK(pop(&s) == 1);
    virtqueue_push(&s.queue, 0, 0x20);
    virtqueue_publish(&s.queue);
    guest_memory_take_dirty(&s.driver.memory, 0, bitmap);
    CHECK(!page_is_dirty(bitmap, BUFFERS_GPA) && !page_is_dirty(bitmap, AVAILABLE_GPA));
    CHECK(page_is_dirty(bitmap, BUFFERS_GPA + 0x1000) &&
          page_is_dirty(bitmap, BUFFERS_GPA + 0x2000));
    CHECK(!page_is_dirty(bitmap, BUFFERS_GPA + 0x3000));
    CHECK(page_is_dirty(bitmap, USED_GPA));
    driver_free(&s.driver);
}

int main(void)
{
    writes_are_logged();
    chain_is_taken_and_returned();
    indices_wrap();
    restart_goes_on_from_the_used_index();
    chain_as_long_as_the_queue();
    zero_length_buffers();
    indirect_table_is_followed();
    indirect_table_unaligned();
    interrupts_follow_used_event();
    interrupts_follow_the_flag();
    kicks_are_suppressed(true);
    kicks_are_suppressed(false);
    return check_finish();
}
