#include "archive_pump.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* As in guest-images/agent/protocol.h. */
#define HEADER_BYTES 5u
#define DATA_BYTES_MAX (256u << 10)
#define FRAME_REPLY 2
#define FRAME_ERROR 3
#define FRAME_DATA 52

struct header {
    uint32_t length;
    uint8_t type;
};

/* A guest that does not even begin to answer in this time is given up. */
#define FIRST_BYTE_MS 120000

/* Bytes that were received and not used yet. */
struct input {
    int fd;
    int timeout_ms; /* of the next bytes; -1: none */
    size_t start, end;
    uint8_t bytes[HEADER_BYTES + DATA_BYTES_MAX];
};

static int wait_for(int fd, short events, int timeout_ms)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    int count = poll(&wanted, 1, timeout_ms);
    if (count == 0)
        return -ETIMEDOUT;
    return count < 0 && errno != EINTR ? -errno : 0;
}

/* Receives more bytes behind those that are there. Returns 0 or -errno. */
static int input_fill(struct input *input)
{
    if (input->start == input->end)
        input->start = input->end = 0;
    if (input->end == sizeof input->bytes) {
        memmove(input->bytes, input->bytes + input->start, input->end - input->start);
        input->end -= input->start;
        input->start = 0;
    }
    for (;;) {
        ssize_t count =
            recv(input->fd, input->bytes + input->end, sizeof input->bytes - input->end, 0);
        if (count > 0) {
            input->end += (size_t)count;
            input->timeout_ms = -1;
            return 0;
        }
        if (count == 0)
            return -ECONNRESET;
        int error = errno == EAGAIN  ? wait_for(input->fd, POLLIN, input->timeout_ms)
                    : errno == EINTR ? 0
                                     : -errno;
        if (error < 0)
            return error;
    }
}

static int take_header(struct input *input, struct header *header)
{
    while (input->end - input->start < HEADER_BYTES) {
        int error = input_fill(input);
        if (error < 0)
            return error;
    }
    memcpy(&header->length, input->bytes + input->start, sizeof header->length);
    header->type = input->bytes[input->start + 4];
    input->start += HEADER_BYTES;
    return 0;
}

static int take_answer(struct input *input, const struct header *header,
                       struct archive_answer *answer)
{
    if ((header->type != FRAME_REPLY && header->type != FRAME_ERROR) ||
        header->length > ARCHIVE_ANSWER_BYTES_MAX)
        return -EBADMSG;
    uint8_t *payload = header->length > 0 ? malloc(header->length) : NULL;
    if (header->length > 0 && !payload)
        return -ENOMEM;
    for (uint32_t have = 0; have < header->length;) {
        size_t count = input->end - input->start;
        if (count > header->length - have)
            count = header->length - have;
        memcpy(payload + have, input->bytes + input->start, count);
        input->start += count;
        have += (uint32_t)count;
        int error = have < header->length ? input_fill(input) : 0;
        if (error < 0) {
            free(payload);
            return error;
        }
    }
    answer->type = header->type;
    answer->payload = payload;
    answer->length = header->length;
    return 0;
}

static int write_pipe(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t count = write(fd, bytes, length);
        int error = count >= 0 || errno == EINTR ? 0
                    : errno == EAGAIN            ? wait_for(fd, POLLOUT, -1)
                                                 : -errno;
        if (error < 0)
            return error;
        bytes += count > 0 ? count : 0;
        length -= count > 0 ? (size_t)count : 0;
    }
    return 0;
}

static int move_out(struct input *input, int pipe, uint32_t length)
{
    while (length > 0) {
        size_t count = input->end - input->start;
        if (count > length)
            count = length;
        int error =
            count > 0 ? write_pipe(pipe, input->bytes + input->start, count) : input_fill(input);
        if (error < 0)
            return error;
        input->start += count;
        length -= (uint32_t)count;
    }
    return 0;
}

static int pump_out(struct input *input, int pipe, struct archive_answer *answer)
{
    for (;;) {
        struct header header;
        int error = take_header(input, &header);
        if (error == 0 && header.type != FRAME_DATA)
            return take_answer(input, &header, answer);
        if (error == 0 && (answer->whole || header.length > DATA_BYTES_MAX))
            error = -EBADMSG;
        if (error == 0)
            error = move_out(input, pipe, header.length);
        if (error < 0)
            return error;
        answer->whole = header.length == 0;
        answer->moved += header.length;
    }
}

static struct input *input_create(int fd, int timeout_ms)
{
    struct input *input = malloc(sizeof *input);

    if (input) {
        input->fd = fd;
        input->timeout_ms = timeout_ms;
        input->start = input->end = 0;
    }
    return input;
}

int archive_pump_out(int connection, int pipe, struct archive_answer *answer)
{
    struct input *input = input_create(connection, FIRST_BYTE_MS);

    *answer = (struct archive_answer){0};
    if (!input)
        return -ENOMEM;
    int error = pump_out(input, pipe, answer);
    free(input);
    return error;
}

/* Returns 1 if an answer has begun to arrive instead, 0 or -errno. */
static int send_frame(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t count = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0) {
            bytes += count;
            length -= (size_t)count;
            continue;
        }
        if (errno == EPIPE || errno == ECONNRESET)
            return 1;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        struct pollfd wanted = {.fd = fd, .events = POLLOUT | POLLIN};
        if (poll(&wanted, 1, -1) > 0 && wanted.revents & POLLIN)
            return 1;
    }
    return 0;
}

/* Reads the pipe into a frame and sends it. Returns 1 if nothing more is to be sent, 0 or -errno.
 */
static int pump_frame(int pipe, int connection, uint8_t *frame, struct archive_answer *answer)
{
    struct pollfd ready[] = {{.fd = pipe, .events = POLLIN}, {.fd = connection, .events = POLLIN}};
    if (poll(ready, 2, -1) < 0)
        return errno == EINTR ? 0 : -errno;
    if (ready[1].revents)
        return 1;
    ssize_t count = read(pipe, frame + HEADER_BYTES, DATA_BYTES_MAX);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    uint32_t length = (uint32_t)count;
    memcpy(frame, &length, sizeof length);
    frame[4] = FRAME_DATA;
    int result = send_frame(connection, frame, HEADER_BYTES + length);
    if (result != 0)
        return result;
    answer->moved += length;
    answer->whole = length == 0;
    return length == 0;
}

int archive_pump_in(int pipe, int connection, struct archive_answer *answer)
{
    struct input *input = input_create(connection, -1);
    struct header header;

    *answer = (struct archive_answer){0};
    if (!input)
        return -ENOMEM;
    int result;
    /* The input's memory is free until the answer comes. */
    do {
        result = pump_frame(pipe, connection, input->bytes, answer);
    } while (result == 0);
    if (result > 0)
        result = take_header(input, &header);
    if (result == 0)
        result = take_answer(input, &header, answer);
    free(input);
    return result;
}
