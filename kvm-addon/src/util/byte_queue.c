#include "byte_queue.h"

#include <errno.h>
#include <stdlib.h>

#define CAPACITY_MIN 4096u

/* A range of the ring, from `offset` bytes after the first one. Returns the number of entries. */
static unsigned ring_range(const struct byte_queue *queue, size_t offset, size_t length,
                           struct iovec iov[2])
{
    size_t at = (queue->start + offset) & (queue->capacity - 1);
    size_t to_end = queue->capacity - at;

    if (length == 0)
        return 0;
    iov[0] =
        (struct iovec){.iov_base = queue->bytes + at, .iov_len = length < to_end ? length : to_end};
    iov[1] = (struct iovec){.iov_base = queue->bytes, .iov_len = length - iov[0].iov_len};
    return iov[1].iov_len > 0 ? 2 : 1;
}

static int ring_grow(struct byte_queue *queue, size_t needed)
{
    size_t capacity = queue->capacity ? queue->capacity : CAPACITY_MIN;
    struct iovec iov[2];

    while (capacity < needed)
        capacity *= 2;
    uint8_t *bytes = malloc(capacity);
    if (!bytes)
        return -ENOMEM;
    struct iov_span old = {.iov = iov, .count = byte_queue_front(queue, iov)};
    iov_copy_from(&old, bytes, queue->length);
    free(queue->bytes);
    *queue = (struct byte_queue){.bytes = bytes, .capacity = capacity, .length = queue->length};
    return 0;
}

int byte_queue_append(struct byte_queue *queue, const struct iov_span *span, size_t length)
{
    struct iovec room[2];

    if (queue->length + length > queue->capacity) {
        int error = ring_grow(queue, queue->length + length);
        if (error < 0)
            return error;
    }
    unsigned count = ring_range(queue, queue->length, length, room);
    struct iov_span left = *span;
    for (unsigned i = 0; i < count; i++) {
        iov_copy_from(&left, room[i].iov_base, room[i].iov_len);
        if (i + 1 < count)
            iov_span_advance(&left, room[i].iov_len);
    }
    queue->length += length;
    return 0;
}

unsigned byte_queue_front(const struct byte_queue *queue, struct iovec iov[2])
{
    return ring_range(queue, 0, queue->length, iov);
}

void byte_queue_remove(struct byte_queue *queue, size_t length)
{
    queue->start = (queue->start + length) & (queue->capacity - 1);
    queue->length -= length;
}

void byte_queue_free(struct byte_queue *queue)
{
    free(queue->bytes);
    *queue = (struct byte_queue){0};
}
