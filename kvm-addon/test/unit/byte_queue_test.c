/* A ring of bytes against a plain array. */
#include "../../src/util/byte_queue.h"

#include <stdlib.h>
#include <string.h>

#include "../check.h"

#define STEPS 20000u
#define LENGTH_MAX 10000u

static void bytes_come_out_as_they_went_in(void)
{
    static uint8_t model[STEPS * 2000u];
    struct byte_queue queue = {0};
    size_t first = 0, end = 0;
    srand(1);
    for (unsigned step = 0; step < STEPS; step++) {
        size_t length = (size_t)rand() % 1000;
        if (queue.length + length <= LENGTH_MAX) {
            for (size_t i = 0; i < length; i++)
                model[end + i] = (uint8_t)rand();
            /* In three parts, one of which may be beyond the appended data. */
            struct iovec parts[3] = {{model + end, length / 3},
                                     {model + end + length / 3, length - length / 3},
                                     {model, 10}};
            struct iov_span span = {.iov = parts, .count = 3};
            CHECK(byte_queue_append(&queue, &span, length) == 0);
            end += length;
        }
        struct iovec front[2];
        unsigned count = byte_queue_front(&queue, front);
        size_t total = 0;
        for (unsigned i = 0; i < count; i++) {
            CHECK(memcmp(front[i].iov_base, model + first + total, front[i].iov_len) == 0);
            total += front[i].iov_len;
        }
        CHECK(total == queue.length && total == end - first && queue.capacity < 4 * LENGTH_MAX);
        size_t removed = queue.length > 0 ? (size_t)rand() % (queue.length + 1) : 0;
        byte_queue_remove(&queue, removed);
        first += removed;
    }
    byte_queue_free(&queue);
    CHECK(queue.length == 0 && queue.bytes == NULL);
}

int main(void)
{
    bytes_come_out_as_they_went_in();
    return check_finish();
}
