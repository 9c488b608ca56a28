#include "byte_queue.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 4096u

uint8_t *byte_queue_reserve(struct byte_queue *queue, size_t length)
{
    size_t needed = queue->length + length;

    if (needed > queue->capacity) {
        size_t capacity = queue->capacity ? queue->capacity : CAPACITY_MIN;
        while (capacity < needed)
            capacity *= 2;
        uint8_t *bytes = malloc(capacity);
        if (!bytes)
            return NULL;
        if (queue->length > 0)
            memcpy(bytes, byte_queue_front(queue), queue->length);
        free(queue->bytes);
        *queue = (struct byte_queue){.bytes = bytes, .capacity = capacity, .length = queue->length};
    } else if (queue->start + needed > queue->capacity) {
        memmove(queue->bytes, byte_queue_front(queue), queue->length);
        queue->start = 0;
    }
    return queue->bytes + queue->start + queue->length;
}

void byte_queue_commit(struct byte_queue *queue, size_t length)
{
    queue->length += length;
}

void byte_queue_remove(struct byte_queue *queue, size_t length)
{
    queue->start += length;
    queue->length -= length;
    if (queue->length == 0)
        byte_queue_free(queue);
}

void byte_queue_free(struct byte_queue *queue)
{
    free(queue->bytes);
    *queue = (struct byte_queue){0};
}
