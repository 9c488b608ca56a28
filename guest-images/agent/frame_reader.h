// Frames that arrive on a connection.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

// Zero-initialized, it waits for a frame.
struct frame_reader {
    uint8_t header[FRAME_HEADER_BYTES];
    uint8_t type;
    uint32_t length;
    size_t arrived; // bytes of header and payload
    uint8_t *payload;
    size_t capacity;
};

// Reads on from a descriptor. 1: `type`, `length` and `payload` are a whole frame; 0: the rest has
// not arrived; -errno: the end (-ECONNRESET) or a frame longer than `length_max` (-EMSGSIZE).
int frame_reader_read(struct frame_reader *reader, int fd, uint32_t length_max);
// Makes room for the next frame.
void frame_reader_next(struct frame_reader *reader);
void frame_reader_free(struct frame_reader *reader);
