/* A first-in, first-out queue of bytes that grows as needed. */
#ifndef TSVM_BYTE_QUEUE_H
#define TSVM_BYTE_QUEUE_H

#include <stddef.h>
#include <stdint.h>

/* Empty when zeroed. */
struct byte_queue {
    uint8_t *bytes;
    size_t capacity;
    size_t start;  /* offset of the first byte */
    size_t length; /* in bytes */
};

/*
 * Returns room for `length` more bytes, which byte_queue_commit() adds, or NULL when memory is
 * short. The caller bounds the length of the queue.
 */
uint8_t *byte_queue_reserve(struct byte_queue *queue, size_t length);
void byte_queue_commit(struct byte_queue *queue, size_t length);

static inline const uint8_t *byte_queue_front(const struct byte_queue *queue)
{
    return queue->bytes + queue->start;
}

/* Removes the first `length` bytes. The memory is freed with the last one. */
void byte_queue_remove(struct byte_queue *queue, size_t length);

/* Empties the queue and frees its memory. */
void byte_queue_free(struct byte_queue *queue);

#endif
