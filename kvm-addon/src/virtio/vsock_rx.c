#include "vsock_rx.h"

#include <errno.h>
#include <sys/socket.h>

#include "vsock_connection.h"

#define HEADER_BYTES sizeof(struct virtio_vsock_hdr)

/* Limits of one read for one connection, after which the next connection has its turn. */
#define READ_CHAINS_MAX 64u
#define READ_BYTES_MAX (256u << 10)

/* An rx buffer of the driver to be filled. */
struct rx_buffer {
    struct iov_span writable;
    uint16_t head;
    uint32_t bytes; /* header and payload */
};

bool vsock_rx_has_packets(const struct vsock *vsock)
{
    return vsock->reply_count > 0 || !list_is_empty(&vsock->ready);
}

/* Takes the next rx buffer and stores its entries at `iov`. Returns false if there is none. */
static bool buffer_pop(struct virtqueue *queue, struct iovec *iov, unsigned *budget,
                       struct rx_buffer *buffer)
{
    struct virtqueue_chain chain;

    if (*budget == 0 || !virtqueue_has_available(queue) || virtqueue_pop(queue, iov, &chain) <= 0)
        return false;
    *budget -= 1;
    *buffer = (struct rx_buffer){
        .writable = {.iov = iov + chain.readable_count, .count = chain.writable_count},
        .head = chain.head,
        .bytes = chain.writable_bytes};
    return true;
}

/* Gives back the most recently taken buffer. */
static void buffer_unpop(struct virtqueue *queue, unsigned *budget)
{
    virtqueue_unpop(queue);
    *budget += 1;
}

/* Like buffer_pop(), but for a buffer of at least `bytes_min` bytes. Shorter ones are returned to
 * the driver empty. */
static bool buffer_take(struct vsock *vsock, struct virtqueue *queue, unsigned *budget,
                        size_t bytes_min, struct rx_buffer *buffer)
{
    while (buffer_pop(queue, vsock->iov, budget, buffer)) {
        if (buffer->bytes >= bytes_min)
            return true;
        counter_add(&vsock->statistics.malformed, 1);
        virtqueue_push(queue, buffer->head, 0);
    }
    return false;
}

static uint32_t payload_max(const struct rx_buffer *buffer)
{
    return buffer->bytes - (uint32_t)HEADER_BYTES;
}

/* Completes a buffer that already contains its payload of `header->len` bytes. */
static void buffer_send(struct vsock *vsock, struct virtqueue *queue,
                        const struct rx_buffer *buffer, const struct virtio_vsock_hdr *header)
{
    iov_copy_to(&buffer->writable, header, HEADER_BYTES);
    virtqueue_push(queue, buffer->head, (uint32_t)HEADER_BYTES + header->len);
    counter_add(&vsock->statistics.rx_packets, 1);
    counter_add(&vsock->statistics.rx_bytes, header->len);
}

/* Fills in a header for a connection, with the guest's current credit. */
static struct virtio_vsock_hdr connection_header(struct vsock_connection *connection, uint16_t op)
{
    connection->forwarded_told = connection->forwarded;
    connection->send &= ~VSOCK_SEND_CREDIT_UPDATE;
    return (struct virtio_vsock_hdr){
        .src_cid = VSOCK_HOST_CID,
        .dst_cid = connection->vsock->guest_cid,
        .src_port = connection->host_port,
        .dst_port = connection->guest_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .flags = op == VIRTIO_VSOCK_OP_SHUTDOWN ? connection->host_shutdown : 0,
        .buf_alloc = connection->buffer_bytes,
        .fwd_cnt = connection->forwarded,
    };
}

static void reply_send(struct vsock *vsock, struct virtqueue *queue, unsigned *budget)
{
    struct rx_buffer buffer;

    while (vsock->reply_count > 0 && buffer_take(vsock, queue, budget, HEADER_BYTES, &buffer)) {
        const struct vsock_reply *reply = &vsock->replies[vsock->reply_first];
        struct virtio_vsock_hdr header = {
            .src_cid = VSOCK_HOST_CID,
            .dst_cid = vsock->guest_cid,
            .src_port = reply->host_port,
            .dst_port = reply->guest_port,
            .type = reply->type,
            .op = VIRTIO_VSOCK_OP_RST,
        };
        vsock->reply_first = (vsock->reply_first + 1) % VSOCK_REPLIES_MAX;
        vsock->reply_count--;
        buffer_send(vsock, queue, &buffer, &header);
    }
}

static const struct {
    unsigned packet;
    uint16_t op;
} CONTROL_PACKETS[] = {
    {VSOCK_SEND_RST, VIRTIO_VSOCK_OP_RST},
    {VSOCK_SEND_REQUEST, VIRTIO_VSOCK_OP_REQUEST},
    {VSOCK_SEND_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE},
    {VSOCK_SEND_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN},
    {VSOCK_SEND_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_UPDATE},
    {VSOCK_SEND_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_REQUEST},
};

/* Sends the most urgent packet of the connection. An RST frees the connection. */
static void control_send(struct vsock_connection *connection, struct virtqueue *queue,
                         const struct rx_buffer *buffer)
{
    unsigned i = 0;

    while (!(connection->send & CONTROL_PACKETS[i].packet))
        i++;
    struct virtio_vsock_hdr header = connection_header(connection, CONTROL_PACKETS[i].op);
    connection->send &= ~CONTROL_PACKETS[i].packet;
    buffer_send(connection->vsock, queue, buffer, &header);
    if (CONTROL_PACKETS[i].packet == VSOCK_SEND_RST)
        vsock_connection_free(connection);
    else
        vsock_connection_update(connection);
}

/* Handles a read from the host's end that returned no data. */
static void read_failed(struct vsock_connection *connection, ssize_t result, int error)
{
    if (result < 0 && (error == EAGAIN || error == EINTR)) {
        connection->readable = error == EINTR;
        return;
    }
    if (result < 0) {
        vsock_connection_reset(connection);
        return;
    }
    connection->readable = false;
    vsock_connection_shut_host(connection, connection->hung_up ? VIRTIO_VSOCK_SHUTDOWN_SEND |
                                                                     VIRTIO_VSOCK_SHUTDOWN_RCV
                                                               : VIRTIO_VSOCK_SHUTDOWN_SEND);
}

/* Reads from the host into `count` buffers. Returns the number of buffers filled and sent. */
static unsigned data_read(struct vsock_connection *connection, struct virtqueue *queue,
                          const struct rx_buffer *buffers, unsigned count, uint32_t bytes_max)
{
    struct vsock *vsock = connection->vsock;
    uint32_t bytes = 0;
    unsigned parts = 0;

    for (unsigned i = 0; i < count && bytes < bytes_max; i++) {
        uint32_t length = payload_max(&buffers[i]);
        if (length > bytes_max - bytes)
            length = bytes_max - bytes;
        parts += iov_span_slice(&buffers[i].writable, HEADER_BYTES, length, vsock->part + parts);
        bytes += length;
    }
    struct msghdr message = {.msg_iov = vsock->part,
                             .msg_iovlen = parts < VSOCK_IOV_MAX ? parts : VSOCK_IOV_MAX};
    ssize_t result = recvmsg(connection->source.fd, &message, MSG_DONTWAIT);
    if (result <= 0) {
        read_failed(connection, result, errno);
        return 0;
    }
    uint32_t rest = (uint32_t)result;
    unsigned used = 0;
    for (; rest > 0; used++) {
        struct virtio_vsock_hdr header = connection_header(connection, VIRTIO_VSOCK_OP_RW);
        header.len = payload_max(&buffers[used]);
        if (header.len > rest)
            header.len = rest;
        rest -= header.len;
        buffer_send(vsock, queue, &buffers[used], &header);
    }
    connection->sent += (uint32_t)result;
    connection->read_chains = used < count ? used + 1 : 2 * count;
    if (connection->read_chains > READ_CHAINS_MAX)
        connection->read_chains = READ_CHAINS_MAX;
    return used;
}

/* Sends data of the host's end. `first` is a buffer that has been taken. */
static void data_send(struct vsock_connection *connection, struct virtqueue *queue,
                      const struct rx_buffer *first, unsigned *budget)
{
    struct vsock *vsock = connection->vsock;
    struct rx_buffer buffers[READ_CHAINS_MAX] = {*first};
    uint32_t credit = vsock_connection_credit(connection);
    uint32_t bytes_max = credit < READ_BYTES_MAX ? credit : READ_BYTES_MAX;
    uint32_t room = payload_max(first);
    unsigned count = 1;
    struct iovec *iov = first->writable.iov + first->writable.count;

    /* vsock->iov has room for two chains of any length, so there is room for the next one. */
    while (count < connection->read_chains && room < bytes_max &&
           iov - vsock->iov <= (ptrdiff_t)vsock->queue_size &&
           buffer_pop(queue, iov, budget, &buffers[count])) {
        if (buffers[count].bytes <= HEADER_BYTES) {
            buffer_unpop(queue, budget); /* buffer_take() returns it the next time */
            break;
        }
        room += payload_max(&buffers[count]);
        iov = buffers[count].writable.iov + buffers[count].writable.count;
        count++;
    }
    unsigned used = data_read(connection, queue, buffers, count, bytes_max);
    for (unsigned i = used; i < count; i++)
        buffer_unpop(queue, budget);
    vsock_connection_update(connection);
}

unsigned vsock_rx_serve(struct vsock *vsock, struct virtqueue *queue, unsigned max)
{
    unsigned budget = max;
    struct rx_buffer buffer;

    reply_send(vsock, queue, &budget);
    while (!list_is_empty(&vsock->ready)) {
        struct vsock_connection *connection =
            LIST_ELEMENT(vsock->ready.next, struct vsock_connection, ready);
        if (!connection->send && !vsock_connection_has_data(connection)) {
            list_remove(&connection->ready);
            continue;
        }
        size_t bytes_min = connection->send ? HEADER_BYTES : HEADER_BYTES + 1;
        if (!buffer_take(vsock, queue, &budget, bytes_min, &buffer))
            break;
        list_remove(&connection->ready);
        if (connection->send)
            control_send(connection, queue, &buffer);
        else
            data_send(connection, queue, &buffer, &budget);
    }
    return max - budget;
}
