#include "sink.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "file_content.h"
#include "message.h"
#include "vsock.h"

static void flush(struct sink *sink)
{
    if (sink->length == 0)
        return;
    frame_header(sink->frame, FRAME_DATA, (uint32_t)sink->length);
    if (sink->error == 0)
        sink->error = write_all(sink->fd, sink->frame, FRAME_HEADER_BYTES + sink->length);
    sink->length = 0;
}

// Where the next bytes belong, and how many fit.
static uint8_t *room(struct sink *sink, size_t *size)
{
    if (sink->length == DATA_BYTES_MAX)
        flush(sink);
    *size = DATA_BYTES_MAX - sink->length;
    return sink->frame + FRAME_HEADER_BYTES + sink->length;
}

void sink_write(struct sink *sink, const void *data, size_t length)
{
    const uint8_t *rest = data;
    while (length > 0) {
        size_t size;
        uint8_t *place = room(sink, &size);
        size_t part = length < size ? length : size;
        memcpy(place, rest, part);
        sink->length += part;
        rest += part;
        length -= part;
    }
}

void sink_zeroes(struct sink *sink, size_t length)
{
    while (length > 0) {
        size_t size;
        uint8_t *place = room(sink, &size);
        size_t part = length < size ? length : size;
        memset(place, 0, part);
        sink->length += part;
        length -= part;
    }
}

int64_t sink_file(struct sink *sink, int fd, uint64_t length)
{
    uint64_t total = 0;
    bool is_direct = file_content_read_directly(fd, length);
    if (is_direct)
        flush(sink);
    while (total < length && sink->error == 0) {
        size_t size;
        uint8_t *place = room(sink, &size);
        size_t part = length - total < size ? (size_t)(length - total) : size;
        // Directly, only whole pages are read: at the end more than there is.
        ssize_t count = read(fd, place, is_direct ? size : part);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && is_direct) {
            file_content_read_cached(fd);
            is_direct = false;
            continue;
        }
        if (count < 0)
            return -errno;
        if (count == 0)
            break;
        if ((size_t)count > part)
            count = (ssize_t)part;
        sink->length += (size_t)count;
        total += (uint64_t)count;
    }
    return (int64_t)total;
}

void sink_end(struct sink *sink)
{
    flush(sink);
    frame_header(sink->frame, FRAME_DATA, 0);
    if (sink->error == 0)
        sink->error = write_all(sink->fd, sink->frame, FRAME_HEADER_BYTES);
}
