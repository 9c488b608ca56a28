#include "vsock_tx.h"

#include <sys/socket.h>

#include "vsock_connection.h"
#include "vsock_host.h"

#define SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* Handles a violation of the specification that affects only this connection. */
static void connection_malformed(struct vsock_connection *connection)
{
    counter_add(&connection->vsock->statistics.malformed, 1);
    vsock_connection_reset(connection);
}

static void data_receive(struct vsock_connection *connection, const struct iov_span *payload,
                         uint32_t length)
{
    struct vsock *vsock = connection->vsock;

    /* A guest may send before it knows that the host's end is closed. */
    if (connection->state == VSOCK_CLOSED)
        return;
    if (connection->state != VSOCK_ESTABLISHED ||
        (connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND)) {
        connection_malformed(connection);
        return;
    }
    uint32_t in_flight = connection->received - connection->forwarded;
    if (length > connection->buffer_bytes - in_flight) {
        /* 5.10.6.3: "the sender MUST NOT transmit more than the peer's credit". */
        counter_add(&vsock->statistics.credit_lies, 1);
        vsock_connection_reset(connection);
        return;
    }
    struct iov_span exact = {
        .iov = vsock->part,
        .count = iov_span_slice(payload, 0, length, vsock->part),
    };
    counter_add(&vsock->statistics.tx_bytes, length);
    if (length > 0)
        vsock_connection_forward(connection, &exact, length);
}

static void shutdown_receive(struct vsock_connection *connection, unsigned flags)
{
    if (connection->state == VSOCK_REQUESTED || connection->state == VSOCK_CALLING) {
        connection_malformed(connection);
        return;
    }
    /* A program that has sent everything shuts that direction down first. */
    if ((flags & SHUTDOWN_BOTH) == SHUTDOWN_BOTH && connection->guest_shutdown == 0)
        vsock_connection_abort(connection);
    connection->guest_shutdown |= flags & SHUTDOWN_BOTH;
    if (connection->guest_shutdown == SHUTDOWN_BOTH) {
        /* 5.10.6.6: the answer to a complete shutdown is an RST. Buffered data is still delivered.
         */
        vsock_reply_reset(connection->vsock, connection->guest_port, connection->host_port,
                          VIRTIO_VSOCK_TYPE_STREAM);
        vsock_connection_end(connection);
        return;
    }
    if (connection->state != VSOCK_ESTABLISHED)
        return;
    if (connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) {
        /* The host program gets EPIPE when it writes. */
        shutdown(connection->source.fd, SHUT_RD);
        connection->host_shutdown |= VIRTIO_VSOCK_SHUTDOWN_SEND;
    }
    if ((connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) && connection->buffer.length == 0)
        shutdown(connection->source.fd, SHUT_WR);
}

static void connection_receive(struct vsock_connection *connection,
                               const struct virtio_vsock_hdr *header,
                               const struct iov_span *payload)
{
    connection->guest_buffer_bytes = header->buf_alloc;
    connection->guest_forwarded = header->fwd_cnt;
    connection->credit_requested = false;
    switch (header->op) {
    case VIRTIO_VSOCK_OP_RESPONSE:
        if (connection->state == VSOCK_REQUESTED)
            vsock_host_established(connection);
        else if (connection->state != VSOCK_CLOSED)
            connection_malformed(connection);
        return;
    case VIRTIO_VSOCK_OP_RST:
        if (connection->state == VSOCK_REQUESTED)
            counter_add(&connection->vsock->statistics.refused, 1);
        if (connection->guest_shutdown == 0)
            vsock_connection_abort(connection);
        vsock_connection_end(connection);
        return;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        shutdown_receive(connection, header->flags);
        return;
    case VIRTIO_VSOCK_OP_RW:
        data_receive(connection, payload, header->len);
        return;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        vsock_connection_update(connection);
        return;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        if (connection->state == VSOCK_ESTABLISHED)
            vsock_connection_send(connection, VSOCK_SEND_CREDIT_UPDATE);
        return;
    default:
        connection_malformed(connection);
    }
}

/* The header is a copy, so the guest cannot change it any more. */
static void packet_receive(struct vsock *vsock, const struct virtio_vsock_hdr *header,
                           const struct iov_span *payload)
{
    uint32_t guest_port = header->src_port, host_port = header->dst_port;

    if (header->src_cid != vsock->guest_cid || header->dst_cid != VSOCK_HOST_CID ||
        header->len > iov_span_bytes(payload)) {
        counter_add(&vsock->statistics.malformed, 1);
        return;
    }
    struct vsock_connection *connection = NULL;
    if (header->type == VIRTIO_VSOCK_TYPE_STREAM)
        connection = vsock_connection_find(vsock, guest_port, host_port);
    if (connection)
        connection_receive(connection, header, payload);
    else if (header->op == VIRTIO_VSOCK_OP_REQUEST && header->type == VIRTIO_VSOCK_TYPE_STREAM)
        vsock_host_request(vsock, header);
    else if (header->op != VIRTIO_VSOCK_OP_RST)
        /* 5.10.6.4.1: packets of an unknown type and packets that belong to no connection are
         * answered by an RST. */
        vsock_reply_reset(vsock, guest_port, host_port, header->type);
}

unsigned vsock_tx_serve(struct vsock *vsock, struct virtqueue *queue, unsigned max)
{
    struct virtqueue_chain chain;
    unsigned taken = 0;

    /* Every packet may need an answer, so a guest that provides no rx buffers must wait. */
    while (taken < max && vsock->reply_count < VSOCK_REPLIES_MAX &&
           virtqueue_pop(queue, vsock->iov, &chain) > 0) {
        struct iov_span packet = {.iov = vsock->iov, .count = chain.readable_count};
        struct virtio_vsock_hdr header;
        taken++;
        counter_add(&vsock->statistics.tx_packets, 1);
        if (iov_span_take(&packet, &header, sizeof header))
            packet_receive(vsock, &header, &packet);
        else
            counter_add(&vsock->statistics.malformed, 1);
        virtqueue_push(queue, chain.head, 0);
    }
    return taken;
}
