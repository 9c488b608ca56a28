#include "vsock_connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* Port numbers of the host's end are above those of services, as in other VMMs. */
#define HOST_PORT_MIN (1u << 30)
#define HOST_PORT_MASK (HOST_PORT_MIN - 1)

static struct vsock_connection **bucket_of(struct vsock *vsock, uint32_t guest_port,
                                           uint32_t host_port)
{
    uint64_t key = ((uint64_t)guest_port << 32 | host_port) ^ vsock->hash_seed;

    /* Fibonacci hashing: the upper bits depend on all bits of the key. */
    return &vsock->buckets[(key * 0x9e3779b97f4a7c15u) >> 52 & (VSOCK_BUCKETS - 1)];
}

struct vsock_connection *vsock_connection_find(struct vsock *vsock, uint32_t guest_port,
                                               uint32_t host_port)
{
    struct vsock_connection *connection = *bucket_of(vsock, guest_port, host_port);

    while (connection &&
           (connection->guest_port != guest_port || connection->host_port != host_port))
        connection = connection->bucket_next;
    return connection;
}

void vsock_connection_insert(struct vsock_connection *connection)
{
    struct vsock_connection **bucket =
        bucket_of(connection->vsock, connection->guest_port, connection->host_port);

    connection->bucket_next = *bucket;
    *bucket = connection;
}

static void table_remove(struct vsock_connection *connection)
{
    struct vsock_connection **link =
        bucket_of(connection->vsock, connection->guest_port, connection->host_port);

    while (*link && *link != connection)
        link = &(*link)->bucket_next;
    if (*link)
        *link = connection->bucket_next;
}

uint32_t vsock_free_host_port(struct vsock *vsock, uint32_t guest_port)
{
    /* Terminates, because there are fewer connections than ports. */
    do {
        vsock->next_host_port = HOST_PORT_MIN | ((vsock->next_host_port + 1) & HOST_PORT_MASK);
    } while (vsock_connection_find(vsock, guest_port, vsock->next_host_port));
    return vsock->next_host_port;
}

/* The credit of a new connection. */
static uint32_t buffer_bytes(const struct vsock *vsock)
{
    uint64_t left = vsock->promised_bytes < VSOCK_PROMISED_BYTES_MAX
                        ? VSOCK_PROMISED_BYTES_MAX - vsock->promised_bytes
                        : 0;
    uint64_t share = left / VSOCK_PROMISED_SHARE;

    if (share > VSOCK_BUFFER_BYTES)
        return VSOCK_BUFFER_BYTES;
    return share < VSOCK_BUFFER_BYTES_MIN ? VSOCK_BUFFER_BYTES_MIN : (uint32_t)share;
}

struct vsock_connection *vsock_connection_create(struct vsock *vsock, int fd)
{
    struct vsock_connection *connection = calloc(1, sizeof *connection);

    if (!connection)
        return NULL;
    connection->vsock = vsock;
    connection->source.fd = fd;
    connection->read_chains = 1;
    connection->buffer_bytes = buffer_bytes(vsock);
    vsock->promised_bytes += connection->buffer_bytes;
    vsock->connection_count++;
    list_append(&vsock->connections, &connection->all);
    list_init(&connection->ready);
    list_init(&connection->waiting);
    return connection;
}

static void host_close(struct vsock_connection *connection)
{
    if (connection->source.fd < 0)
        return;
    if (connection->vsock->loop && connection->source.ready)
        event_loop_remove(connection->vsock->loop, &connection->source);
    close(connection->source.fd);
    connection->source.fd = -1;
    connection->readable = false;
    connection->forwarded += (uint32_t)connection->buffer.length;
    byte_queue_free(&connection->buffer);
}

void vsock_connection_free(struct vsock_connection *connection)
{
    struct vsock *vsock = connection->vsock;

    host_close(connection);
    table_remove(connection);
    list_remove(&connection->all);
    list_remove(&connection->ready);
    list_remove(&connection->waiting);
    vsock->connection_count--;
    vsock->promised_bytes -= connection->buffer_bytes;
    free(connection);
}

uint32_t vsock_connection_credit(const struct vsock_connection *connection)
{
    uint32_t in_flight = connection->sent - connection->guest_forwarded;

    /* A guest that reports a false count of forwarded bytes gets no credit. */
    return in_flight >= connection->guest_buffer_bytes ? 0
                                                       : connection->guest_buffer_bytes - in_flight;
}

static bool may_send_data(const struct vsock_connection *connection)
{
    return connection->state == VSOCK_ESTABLISHED && connection->readable &&
           !(connection->host_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND);
}

bool vsock_connection_has_data(const struct vsock_connection *connection)
{
    return may_send_data(connection) && vsock_connection_credit(connection) > 0;
}

/* The guest assumes that less than half of its buffer here is free, but more is. */
static bool must_tell_credit(const struct vsock_connection *connection)
{
    return connection->state == VSOCK_ESTABLISHED &&
           connection->received - connection->forwarded_told > connection->buffer_bytes / 2 &&
           connection->forwarded != connection->forwarded_told;
}

void vsock_connection_update(struct vsock_connection *connection)
{
    bool has_data = may_send_data(connection);

    if (must_tell_credit(connection))
        connection->send |= VSOCK_SEND_CREDIT_UPDATE;
    if (has_data && vsock_connection_credit(connection) == 0) {
        has_data = false;
        if (!connection->credit_requested)
            connection->send |= VSOCK_SEND_CREDIT_REQUEST;
        connection->credit_requested = true;
    }
    if ((connection->send || has_data) && list_is_empty(&connection->ready))
        list_append(&connection->vsock->ready, &connection->ready);
}

void vsock_connection_send(struct vsock_connection *connection, unsigned packets)
{
    connection->send |= packets;
    vsock_connection_update(connection);
}

void vsock_connection_abort(struct vsock_connection *connection)
{
    if (connection->source.fd >= 0)
        setsockopt(connection->source.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
}

void vsock_connection_reset(struct vsock_connection *connection)
{
    vsock_connection_abort(connection);
    counter_add(&connection->vsock->statistics.resets, 1);
    host_close(connection);
    list_remove(&connection->waiting);
    connection->state = VSOCK_CLOSED;
    connection->send = VSOCK_SEND_RST;
    vsock_connection_update(connection);
}

void vsock_connection_end(struct vsock_connection *connection)
{
    if (connection->state != VSOCK_ESTABLISHED || connection->buffer.length == 0) {
        vsock_connection_free(connection);
        return;
    }
    table_remove(connection);
    list_remove(&connection->ready);
    connection->state = VSOCK_LINGERING;
    connection->send = 0;
}

void vsock_connection_shut_host(struct vsock_connection *connection, unsigned flags)
{
    if (connection->state != VSOCK_ESTABLISHED ||
        (connection->host_shutdown | flags) == connection->host_shutdown)
        return;
    connection->host_shutdown |= flags;
    if (connection->host_shutdown == SHUTDOWN_BOTH) {
        host_close(connection);
        connection->state = VSOCK_CLOSED;
    }
    vsock_connection_send(connection, VSOCK_SEND_SHUTDOWN);
}

/* The host program no longer reads: data from the guest is dropped. */
static void host_refuses_data(struct vsock_connection *connection)
{
    connection->forwarded += (uint32_t)connection->buffer.length;
    byte_queue_free(&connection->buffer);
    if (connection->state == VSOCK_LINGERING)
        vsock_connection_free(connection);
    else
        vsock_connection_shut_host(connection, VIRTIO_VSOCK_SHUTDOWN_RCV);
}

void vsock_connection_flush(struct vsock_connection *connection)
{
    struct byte_queue *buffer = &connection->buffer;
    struct iovec front[2];

    while (buffer->length > 0) {
        struct msghdr message = {.msg_iov = front, .msg_iovlen = byte_queue_front(buffer, front)};
        ssize_t sent = sendmsg(connection->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            host_refuses_data(connection);
            return;
        }
        if (sent < 0)
            break;
        byte_queue_remove(buffer, (size_t)sent);
        connection->forwarded += (uint32_t)sent;
    }
    if (buffer->length == 0 && connection->vsock->connection_count > VSOCK_KEPT_BUFFERS)
        byte_queue_free(buffer);
    if (buffer->length == 0 && connection->state == VSOCK_LINGERING) {
        vsock_connection_free(connection);
        return;
    }
    if (buffer->length == 0 && (connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND))
        shutdown(connection->source.fd, SHUT_WR);
    vsock_connection_update(connection);
}

void vsock_connection_forward(struct vsock_connection *connection, const struct iov_span *span,
                              uint32_t length)
{
    size_t sent = 0;

    connection->received += length;
    if (connection->source.fd < 0 || (connection->host_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV)) {
        connection->forwarded += length;
        vsock_connection_update(connection);
        return;
    }
    if (connection->buffer.length == 0) {
        struct msghdr message = {.msg_iov = span->iov,
                                 .msg_iovlen =
                                     span->count < VSOCK_IOV_MAX ? span->count : VSOCK_IOV_MAX};
        ssize_t result;
        do {
            result = sendmsg(connection->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        } while (result < 0 && errno == EINTR);
        if (result < 0 && errno != EAGAIN) {
            connection->forwarded += length;
            host_refuses_data(connection);
            return;
        }
        sent = result > 0 ? (size_t)result : 0;
        connection->forwarded += (uint32_t)sent;
    }
    if (sent < length) {
        struct iov_span left = *span;
        iov_span_advance(&left, sent);
        if (byte_queue_append(&connection->buffer, &left, length - sent) < 0) {
            vsock_connection_reset(connection);
            return;
        }
    }
    vsock_connection_update(connection);
}

void vsock_reply_reset(struct vsock *vsock, uint32_t guest_port, uint32_t host_port, uint16_t type)
{
    if (vsock->reply_count == VSOCK_REPLIES_MAX)
        return;
    unsigned index = (vsock->reply_first + vsock->reply_count++) % VSOCK_REPLIES_MAX;
    vsock->replies[index] = (struct vsock_reply){guest_port, host_port, type};
}
