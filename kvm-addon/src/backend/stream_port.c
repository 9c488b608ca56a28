#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../util/iov.h"
#include "net_frame.h"
#include "net_port.h"

#define PREFIX_BYTES ((uint32_t)sizeof(uint32_t))
#define MESSAGE_BYTES_MAX (PREFIX_BYTES + NET_FRAME_BYTES_MAX)
/* One receive call reads many small frames or a few large ones. */
#define BUFFER_BYTES (4 * 65536u)
/* IOV_MAX. */
#define IOVS_MAX 1024u

struct stream_port {
    struct net_port port;
    /* Received bytes are [start, end) of the buffer. */
    uint32_t start;
    uint32_t end;
    /* The rest of a partially sent frame. Later frames must wait for it. */
    uint32_t tail_start;
    uint32_t tail_end;
    uint8_t tail[MESSAGE_BYTES_MAX];
    uint8_t buffer[BUFFER_BYTES];
};

static struct stream_port *stream_of(struct net_port *port)
{
    return (struct stream_port *)port;
}

static int stream_fail(struct net_port *port, int error)
{
    net_port_fail(port, error);
    return error;
}

static int stream_start(struct net_port *port, uint32_t features)
{
    (void)port;
    (void)features;
    return 0;
}

/* Length of the frame at the start of the buffer; 0 if it is incomplete. */
static int buffer_peek(struct stream_port *stream)
{
    uint32_t available = stream->end - stream->start, prefix;
    if (available < PREFIX_BYTES)
        return 0;
    memcpy(&prefix, stream->buffer + stream->start, sizeof prefix);
    uint32_t bytes = ntohl(prefix);
    if (bytes < NET_FRAME_BYTES_MIN || bytes > NET_FRAME_BYTES_MAX)
        return stream_fail(&stream->port, -EPROTO);
    return available - PREFIX_BYTES >= bytes ? (int)bytes : 0;
}

static int buffer_fill(struct stream_port *stream)
{
    if (stream->start == stream->end)
        stream->start = stream->end = 0;
    if (BUFFER_BYTES - stream->start < MESSAGE_BYTES_MAX) {
        memmove(stream->buffer, stream->buffer + stream->start, stream->end - stream->start);
        stream->end -= stream->start;
        stream->start = 0;
    }
    for (;;) {
        ssize_t got = recv(stream->port.fd, stream->buffer + stream->end,
                           BUFFER_BYTES - stream->end, MSG_DONTWAIT);
        if (got > 0) {
            stream->end += (uint32_t)got;
            return 0;
        }
        if (got == 0)
            return stream_fail(&stream->port, -EPIPE);
        if (errno == EAGAIN)
            return -EAGAIN;
        if (errno != EINTR)
            return stream_fail(&stream->port, -EPIPE);
    }
}

static int stream_peek(struct net_port *port)
{
    struct stream_port *stream = stream_of(port);
    if (net_port_has_failed(port))
        return -EPIPE;
    for (;;) {
        int bytes = buffer_peek(stream);
        if (bytes != 0)
            return bytes;
        int error = buffer_fill(stream);
        if (error < 0)
            return error;
    }
}

static void stream_skip(struct net_port *port)
{
    struct stream_port *stream = stream_of(port);
    int bytes = stream_peek(port);
    if (bytes > 0)
        stream->start += PREFIX_BYTES + (uint32_t)bytes;
}

static ssize_t stream_receive(struct net_port *port, const struct iovec *iov, unsigned count)
{
    static const struct virtio_net_hdr_v1 NO_OFFLOADS;
    struct stream_port *stream = stream_of(port);
    int bytes = stream_peek(port);
    if (bytes < 0)
        return bytes;
    const struct iov_span span = {.iov = (struct iovec *)iov, .count = count};
    iov_copy_to(&span, &NO_OFFLOADS, sizeof NO_OFFLOADS);
    iov_copy_to_at(&span, NET_HEADER_BYTES, stream->buffer + stream->start + PREFIX_BYTES,
                   (size_t)bytes);
    stream->start += PREFIX_BYTES + (uint32_t)bytes;
    return (ssize_t)NET_HEADER_BYTES + bytes;
}

/* sendmsg(2). Returns the number of bytes sent, 0 if it would block, or -errno. */
static ssize_t stream_write(struct net_port *port, struct iovec *iov, unsigned count)
{
    const struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    for (;;) {
        ssize_t sent = sendmsg(port->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0)
            return sent;
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return stream_fail(port, -EPIPE);
    }
}

/* Sends the rest of an earlier frame. Returns 1 if all of it is sent, 0 if not, or -errno. */
static int tail_send(struct stream_port *stream)
{
    while (stream->tail_start < stream->tail_end) {
        struct iovec rest = {.iov_base = stream->tail + stream->tail_start,
                             .iov_len = stream->tail_end - stream->tail_start};
        ssize_t sent = stream_write(&stream->port, &rest, 1);
        if (sent <= 0)
            return (int)sent;
        stream->tail_start += (uint32_t)sent;
    }
    stream->tail_start = stream->tail_end = 0;
    return 1;
}

/* Keeps the rest of a message of which `sent` bytes were sent. */
static void tail_keep(struct stream_port *stream, struct iovec *iov, unsigned count, size_t sent)
{
    struct iov_span rest = {.iov = iov, .count = count};
    iov_span_advance(&rest, sent);
    stream->tail_end = (uint32_t)iov_copy_from(&rest, stream->tail, sizeof stream->tail);
}

struct message {
    uint32_t prefix;
    unsigned iov; /* its first entry */
    unsigned iov_count;
};

#define MESSAGES_MAX 64u

/* Sends as many frames as fit in one call. Returns their number or -errno. */
static int messages_send(struct stream_port *stream, struct net_frame *frames, unsigned count)
{
    struct message messages[MESSAGES_MAX];
    struct iovec iov[IOVS_MAX];
    unsigned used = 0, prepared = 0;
    for (; prepared < count && prepared < MESSAGES_MAX; prepared++) {
        const struct net_frame *frame = &frames[prepared];
        struct message *message = &messages[prepared];
        if (used + frame->count + 1 > IOVS_MAX)
            break;
        *message = (struct message){
            .prefix = htonl(frame->bytes), .iov = used, .iov_count = frame->count + 1};
        iov[used] = (struct iovec){.iov_base = &message->prefix, .iov_len = PREFIX_BYTES};
        memcpy(&iov[used + 1], frame->iov, frame->count * sizeof *iov);
        used += frame->count + 1;
    }
    ssize_t sent = stream_write(&stream->port, iov, used);
    if (sent < 0)
        return (int)sent;
    unsigned done = 0;
    for (size_t left = (size_t)sent; done < prepared && left > 0; done++) {
        size_t bytes = PREFIX_BYTES + frames[done].bytes;
        if (left < bytes) {
            const struct message *message = &messages[done];
            tail_keep(stream, &iov[message->iov], message->iov_count, left);
            left = bytes;
        }
        left -= bytes;
    }
    return (int)done;
}

static int stream_send(struct net_port *port, struct net_frame *frames, unsigned count)
{
    struct stream_port *stream = stream_of(port);
    unsigned done = 0;
    port->blocked = false;
    if (net_port_has_failed(port))
        return -EPIPE;
    for (;;) {
        int sent = tail_send(stream);
        if (sent == 1 && done == count)
            return (int)done;
        if (sent == 1)
            sent = messages_send(stream, frames + done, count - done);
        if (sent < 0)
            return sent;
        if (sent == 0) {
            port->blocked = true;
            return (int)done;
        }
        done += (unsigned)sent;
    }
}

static void stream_free(struct net_port *port)
{
    free(stream_of(port));
}

static const struct net_port_ops STREAM_OPS = {
    .start = stream_start,
    .peek = stream_peek,
    .receive = stream_receive,
    .skip = stream_skip,
    .send = stream_send,
    .free = stream_free,
};

struct net_port *stream_port_create(int fd, struct wake wake)
{
    struct stream_port *stream = malloc(sizeof *stream);
    if (!stream)
        return NULL;
    stream->port = (struct net_port){.ops = &STREAM_OPS, .fd = fd, .wake = wake};
    stream->start = stream->end = 0;
    stream->tail_start = stream->tail_end = 0;
    return &stream->port;
}
