/* A virtqueue and its driver, on one thread. */
#ifndef TSVM_TEST_VIRTQUEUE_SETUP_H
#define TSVM_TEST_VIRTQUEUE_SETUP_H

#include <errno.h>

#include "check.h"
#include "fake_driver.h"

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

static inline void setup_init(struct setup *setup)
{
    driver_init(&setup->driver, SIZE);
    CHECK(virtqueue_init(&setup->queue, &setup->driver.memory, &setup->driver.config) == 0);
}

static inline int pop(struct setup *setup)
{
    return virtqueue_pop(&setup->queue, setup->iov, &setup->chain);
}

/* Offers chain 0 and expects it to be refused for a reason with this word, and the queue to stop.
 */
static inline void expect_broken(struct setup *setup, const char *word)
{
    driver_offer(&setup->driver, 0);
    CHECK(pop(setup) == -EPROTO);
    CHECK(setup->queue.broken && strstr(setup->queue.broken, word));
    CHECK(pop(setup) == -EPROTO);
    CHECK(!virtqueue_has_available(&setup->queue));
    driver_free(&setup->driver);
}

#endif
