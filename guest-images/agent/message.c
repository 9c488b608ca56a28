#include "message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol.h"

#define FIRST_CAPACITY 256

static uint8_t *message_grow(struct message *message, size_t length)
{
    if (message->broken)
        return NULL;
    if (message->capacity - message->length < length) {
        size_t capacity = message->capacity ? message->capacity : FIRST_CAPACITY;
        while (capacity - message->length < length)
            capacity *= 2;
        uint8_t *data = realloc(message->data, capacity);
        if (data == NULL) {
            message->broken = 1;
            return NULL;
        }
        message->data = data;
        message->capacity = capacity;
    }
    uint8_t *place = message->data + message->length;
    message->length += length;
    return place;
}

void frame_header(uint8_t *header, uint8_t type, uint32_t length)
{
    memcpy(header, &length, sizeof length);
    header[4] = type;
}

void message_begin(struct message *message, uint8_t type)
{
    message->length = 0;
    message->broken = 0;
    uint8_t *header = message_grow(message, FRAME_HEADER_BYTES);
    if (header != NULL)
        frame_header(header, type, 0);
}

void message_bytes(struct message *message, uint8_t tag, const void *data, size_t length)
{
    uint8_t *field = message_grow(message, FIELD_HEADER_BYTES + length);
    if (field == NULL)
        return;
    uint32_t length32 = (uint32_t)length;
    field[0] = tag;
    memcpy(field + 1, &length32, sizeof length32);
    if (length > 0)
        memcpy(field + FIELD_HEADER_BYTES, data, length);
}

void message_number(struct message *message, uint8_t tag, uint64_t number)
{
    message_bytes(message, tag, &number, sizeof number);
}

void message_text(struct message *message, uint8_t tag, const char *text)
{
    message_bytes(message, tag, text, strlen(text) + 1);
}

size_t message_nested_begin(struct message *message, uint8_t tag)
{
    message_bytes(message, tag, NULL, 0);
    return message->length;
}

void message_nested_end(struct message *message, size_t start)
{
    if (message->broken)
        return;
    uint32_t length = (uint32_t)(message->length - start);
    memcpy(message->data + start - sizeof length, &length, sizeof length);
}

int message_end(struct message *message)
{
    if (message->broken)
        return -ENOMEM;
    uint32_t length = (uint32_t)(message->length - FRAME_HEADER_BYTES);
    memcpy(message->data, &length, sizeof length);
    return 0;
}

void message_free(struct message *message)
{
    free(message->data);
    *message = (struct message){0};
}

int message_failure(struct message *message, const struct failure *failure)
{
    message_begin(message, FRAME_ERROR);
    message_number(message, ERROR_CODE, failure->code);
    message_number(message, ERROR_ERRNO, (uint64_t)failure->number);
    message_text(message, ERROR_TEXT, failure->text);
    return message_end(message);
}
