#include "source.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol.h"

#define CHUNK 65536
// A reader that is woken for less than this is woken for each packet, of which the driver's buffers
// take 4 KiB.
#define LOW_WATER_BYTES (256u << 10)

static uint8_t skipped[CHUNK];

// The next read waits for `length` bytes, which the host is going to send.
static void set_low_water(struct source *source, size_t length)
{
    int bytes = length < LOW_WATER_BYTES ? (int)length : (int)LOW_WATER_BYTES;
    if (bytes == source->low_water)
        return;
    source->low_water = bytes;
    setsockopt(source->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

static ssize_t read_some(int fd, void *data, size_t length)
{
    ssize_t count;
    do {
        count = read(fd, data, length);
    } while (count < 0 && errno == EINTR);
    return count > 0 ? count : count == 0 ? -ECONNRESET : -errno;
}

static int next_frame(struct source *source)
{
    uint8_t header[FRAME_HEADER_BYTES];
    set_low_water(source, 1);
    for (size_t have = 0; have < sizeof header;) {
        ssize_t count = read_some(source->fd, header + have, sizeof header - have);
        if (count < 0)
            return (int)count;
        have += (size_t)count;
    }
    memcpy(&source->left, header, sizeof source->left);
    if (header[4] != FRAME_DATA || source->left > DATA_BYTES_MAX)
        return -EBADMSG;
    source->ended = source->left == 0;
    return 0;
}

ssize_t source_read(struct source *source, void *data, size_t length)
{
    if (source->left == 0 && !source->ended) {
        int result = next_frame(source);
        if (result < 0)
            return result;
    }
    if (source->ended || length == 0)
        return 0;
    if (length > source->left)
        length = source->left;
    set_low_water(source, length);
    ssize_t count = read_some(source->fd, data, length);
    if (count > 0)
        source->left -= (uint32_t)count;
    return count;
}

int source_read_all(struct source *source, void *data, size_t length)
{
    for (size_t have = 0; have < length;) {
        ssize_t count = source_read(source, (uint8_t *)data + have, length - have);
        if (count < 0)
            return (int)count;
        if (count == 0)
            return have == 0 ? 0 : -ENODATA;
        have += (size_t)count;
    }
    return 1;
}

int source_skip(struct source *source, uint64_t length)
{
    while (length > 0) {
        size_t part = length < sizeof skipped ? (size_t)length : sizeof skipped;
        ssize_t count = source_read(source, skipped, part);
        if (count <= 0)
            return count == 0 ? -ENODATA : (int)count;
        length -= (uint64_t)count;
    }
    return 0;
}

int source_drain(struct source *source)
{
    ssize_t count;
    while ((count = source_read(source, skipped, sizeof skipped)) > 0)
        ;
    return (int)count;
}
