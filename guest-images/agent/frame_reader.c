#include "frame_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Reads up to `length` bytes: their number, 0 if none are there, or -errno.
static ssize_t read_some(int fd, void *data, size_t length)
{
    ssize_t count;
    do {
        count = read(fd, data, length);
    } while (count < 0 && errno == EINTR);
    if (count == 0)
        return -ECONNRESET;
    if (count < 0)
        return errno == EAGAIN ? 0 : -errno;
    return count;
}

static int parse_header(struct frame_reader *reader, uint32_t length_max)
{
    memcpy(&reader->length, reader->header, sizeof reader->length);
    reader->type = reader->header[4];
    if (reader->length > length_max)
        return -EMSGSIZE;
    if (reader->length > reader->capacity) {
        uint8_t *payload = realloc(reader->payload, reader->length);
        if (payload == NULL)
            return -ENOMEM;
        reader->payload = payload;
        reader->capacity = reader->length;
    }
    return 0;
}

int frame_reader_read(struct frame_reader *reader, int fd, uint32_t length_max)
{
    while (reader->arrived < FRAME_HEADER_BYTES) {
        ssize_t count =
            read_some(fd, reader->header + reader->arrived, FRAME_HEADER_BYTES - reader->arrived);
        if (count <= 0)
            return (int)count;
        reader->arrived += (size_t)count;
        if (reader->arrived == FRAME_HEADER_BYTES) {
            int result = parse_header(reader, length_max);
            if (result < 0)
                return result;
        }
    }
    for (;;) {
        size_t position = reader->arrived - FRAME_HEADER_BYTES;
        if (position == reader->length)
            return 1;
        ssize_t count = read_some(fd, reader->payload + position, reader->length - position);
        if (count <= 0)
            return (int)count;
        reader->arrived += (size_t)count;
    }
}

void frame_reader_next(struct frame_reader *reader)
{
    reader->arrived = 0;
}

void frame_reader_free(struct frame_reader *reader)
{
    free(reader->payload);
    *reader = (struct frame_reader){0};
}
