/* A first-in, first-out queue of bytes: a ring that grows as needed. */
#ifndef TSVM_BYTE_QUEUE_H
#define TSVM_BYTE_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "iov.h"

/* Empty when zeroed. */
struct byte_queue {
    uint8_t *bytes;
    size_t capacity; /* 0 or a power of two */
    size_t start;    /* index of the first byte */
    size_t length;   /* in bytes */
};

/*
 * Appends the first `length` bytes of a span. The caller bounds the length of the queue. Returns 0
 * or -ENOMEM.
 */
int byte_queue_append(struct byte_queue *queue, const struct iov_span *span, size_t length);

/* The first bytes, as one or two entries of `iov`. Returns their number, 0 for an empty queue. */
unsigned byte_queue_front(const struct byte_queue *queue, struct iovec iov[2]);

/* Removes the first `length` bytes. The memory is kept. */
void byte_queue_remove(struct byte_queue *queue, size_t length);

/* Empties the queue and frees its memory. */
void byte_queue_free(struct byte_queue *queue);

#endif
