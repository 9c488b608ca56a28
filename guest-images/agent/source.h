// A stream of bytes from the host, in frames of type FRAME_DATA.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct source {
    int fd;
    uint32_t left; // of the current frame
    bool ended;
    int low_water; // the socket's; 0: the kernel's default
};

// Up to `length` bytes: their number, 0 at the end of the stream, or -errno.
ssize_t source_read(struct source *source, void *data, size_t length);
// All of `length`: 1, or 0 if the stream ends before the first byte, or -errno (-ENODATA if later).
int source_read_all(struct source *source, void *data, size_t length);
int source_skip(struct source *source, uint64_t length);
// Reads to the end of the stream.
int source_drain(struct source *source);
