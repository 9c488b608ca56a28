// A stream of bytes to the host, in frames of type FRAME_DATA.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

#define SINK_ALIGNMENT 4096

struct sink {
    // What comes behind the header begins at a page, for files that are read directly.
    uint8_t unused[SINK_ALIGNMENT - FRAME_HEADER_BYTES];
    uint8_t frame[FRAME_HEADER_BYTES + DATA_BYTES_MAX];
    int fd;
    int error; // 0, or the first -errno: later writes do nothing
    size_t length;
} __attribute__((aligned(SINK_ALIGNMENT)));

void sink_write(struct sink *sink, const void *data, size_t length);
void sink_zeroes(struct sink *sink, size_t length);
// Up to `length` bytes of a file; fewer if it ends. Their number, or -errno of the file.
int64_t sink_file(struct sink *sink, int fd, uint64_t length);
// Sends what is left, and the end of the stream.
void sink_end(struct sink *sink);
