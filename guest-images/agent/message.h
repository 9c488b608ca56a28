// Frames that the agent sends.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "failure.h"

// A frame of fields under construction. Zero-initialized it is empty; if memory runs out it stays
// incomplete and `broken`, and message_end() fails.
struct message {
    uint8_t *data;
    size_t length;
    size_t capacity;
    int broken;
};

void message_begin(struct message *message, uint8_t type);
void message_number(struct message *message, uint8_t tag, uint64_t number);
void message_text(struct message *message, uint8_t tag, const char *text);
void message_bytes(struct message *message, uint8_t tag, const void *data, size_t length);
// A field of fields: those added until message_nested_end(), which gets what this returns.
size_t message_nested_begin(struct message *message, uint8_t tag);
void message_nested_end(struct message *message, size_t start);
// Fills in the frame's length. 0, or -ENOMEM.
int message_end(struct message *message);
void message_free(struct message *message);

// The whole FRAME_ERROR.
int message_failure(struct message *message, const struct failure *failure);

// The header of a frame, FRAME_HEADER_BYTES long.
void frame_header(uint8_t *header, uint8_t type, uint32_t length);
