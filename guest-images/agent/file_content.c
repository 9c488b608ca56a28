#include "file_content.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PART_BYTES (1u << 20)
// Smaller files are likely to be read soon.
#define DIRECT_BYTES_MIN (4u << 20)
// Of memory, offsets and lengths; no file system here needs more.
#define DIRECT_ALIGNMENT 4096u

static uint8_t part[PART_BYTES] __attribute__((aligned(DIRECT_ALIGNMENT)));

static bool set_direct(int fd, bool is_direct)
{
    int flags = fcntl(fd, F_GETFL);
    return fcntl(fd, F_SETFL, is_direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

static int write_part(int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, data, length);
        if (written < 0 && errno == EINVAL && set_direct(fd, false))
            continue; // its file system wants another alignment
        if (written < 0 && errno != EINTR)
            return -errno;
        data += written > 0 ? written : 0;
        length -= written > 0 ? (size_t)written : 0;
    }
    return 0;
}

// The last bytes are less than a block.
static int write_aligned(int fd, const uint8_t *data, size_t length)
{
    size_t aligned = length & ~(size_t)(DIRECT_ALIGNMENT - 1);
    int result = write_part(fd, data, aligned);
    if (result < 0 || aligned == length)
        return result;
    set_direct(fd, false);
    return write_part(fd, data + aligned, length - aligned);
}

// In one piece, and what has no room fails before it is sent. Not every file system can.
static int reserve(int fd, uint64_t size, bool *is_reserved)
{
    *is_reserved = fallocate(fd, 0, 0, (off_t)size) == 0;
    if (*is_reserved || errno != ENOSPC)
        return 0;
    (void)!ftruncate(fd, 0); // the part for which there was room
    return -ENOSPC;
}

int file_content_write(int fd, struct source *source, uint64_t size)
{
    uint64_t done = 0;
    bool is_reserved = false;
    int result = size < DIRECT_BYTES_MIN ? 0 : reserve(fd, size, &is_reserved);
    if (is_reserved)
        set_direct(fd, true);
    while (result == 0 && done < size) {
        size_t length = size - done < PART_BYTES ? (size_t)(size - done) : PART_BYTES;
        if (source_read_all(source, part, length) <= 0) {
            result = SOURCE_FAILED;
        } else {
            result = write_aligned(fd, part, length);
            done += length;
        }
    }
    if (is_reserved && done < size)
        (void)!ftruncate(fd, (off_t)done);
    return result;
}

bool file_content_read_directly(int fd, uint64_t size)
{
    return size >= DIRECT_BYTES_MIN && set_direct(fd, true);
}

void file_content_read_cached(int fd)
{
    set_direct(fd, false);
}
