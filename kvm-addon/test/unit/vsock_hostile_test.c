/* A socket device whose driver lies: each line of the threat model, and what it costs others. */
#include "../../src/virtio/vsock.h"

#include <stdio.h>
#include <sys/resource.h>

#include "../../../test/vectors/hostile_vsock.h"
#include "../check.h"
#include "../vsock_setup.h"

#define PORT 1234u
#define LISTENED 77u

static struct vsock_setup *setup_create(void)
{
    struct vsock_setup *s = malloc(sizeof *s);
    vsock_setup_init(s, "", -1);
    for (uint16_t slot = 0; slot < QUEUE_SIZE; slot++)
        guest_give(s, VSOCK_RX_QUEUE, slot, 256);
    CHECK(vsock_listen(&s->vsock, LISTENED) == 0);
    return s;
}

static void setup_destroy(struct vsock_setup *s)
{
    struct vsock_accepted accepted;
    while (vsock_take_accepted(&s->vsock, &accepted))
        close(accepted.fd);
    vsock_setup_free(s);
    free(s);
}

static int establish(struct vsock_setup *s, uint32_t guest_port)
{
    struct vsock_accepted accepted = {.fd = -1};
    guest_say(s, VIRTIO_VSOCK_OP_REQUEST, guest_port, LISTENED);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RESPONSE);
    CHECK(vsock_take_accepted(&s->vsock, &accepted));
    return accepted.fd;
}

/* The next packet is a reset of this connection. */
static bool was_reset(struct vsock_setup *s, uint32_t guest_port, uint32_t host_port)
{
    struct vsock_packet packet = guest_receive(s);
    return packet.header.op == VIRTIO_VSOCK_OP_RST && packet.header.dst_port == guest_port &&
           packet.header.src_port == host_port;
}

/* A connection that the lies of others have not touched. */
static void check_alive(struct vsock_setup *s, int fd, uint32_t guest_port)
{
    char bytes[4];
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_RW, guest_port, LISTENED);
    header.len = 2;
    guest_send(s, &header, "ok", 2);
    CHECK(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) == 2);
}

static void hostile_packets_affect_no_other_connection(void)
{
    static const uint8_t PAYLOAD[64];
    for (unsigned i = 0; i < HOSTILE_VSOCK_PACKETS; i++) {
        const struct hostile_vsock_packet *packet = &hostile_vsock_packets[i];
        struct vsock_setup *s = setup_create();
        int other = establish(s, 1), fd = packet->connected ? establish(s, PORT) : -1;
        struct virtio_vsock_hdr header = guest_header(packet->op, PORT, LISTENED);
        hostile_vsock_apply(packet, &header);
        guest_send(s, &header, PAYLOAD, packet->payload_bytes);
        bool passed = CHECK(packet->answered ? was_reset(s, PORT, LISTENED)
                                             : guest_receive(s).header.op == 0);
        char byte;
        /* Nothing reaches the host's end: it is closed, or it waits. */
        passed = CHECK(fd < 0 || recv(fd, &byte, 1, MSG_DONTWAIT) <= 0) && passed;
        passed = CHECK(s->vsock.connection_count == 1u + (fd >= 0 && !packet->answered)) && passed;
        if (!passed)
            fprintf(stderr, "  in %s\n", packet->name);
        check_alive(s, other, 1);
        close(other);
        if (fd >= 0)
            close(fd);
        setup_destroy(s);
    }
}

static void data_before_the_response_resets_the_connection(void)
{
    struct vsock_setup *s = setup_create();
    int fd = vsock_connect(&s->vsock);
    CHECK(dprintf(fd, "CONNECT %u\n", PORT) > 0);
    uint32_t host_port = guest_receive(s).header.src_port;
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_RW, PORT, host_port);
    header.len = 1;
    guest_send(s, &header, "x", 1);
    CHECK(was_reset(s, PORT, host_port));
    char byte;
    CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == 0 && s->vsock.connection_count == 0);
    close(fd);
    setup_destroy(s);
}

static void data_after_the_end_of_sending_resets_the_connection(void)
{
    struct vsock_setup *s = setup_create();
    int fd = establish(s, PORT);
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_SHUTDOWN, PORT, LISTENED);
    header.flags = VIRTIO_VSOCK_SHUTDOWN_SEND | 0xfffffff0u;
    guest_send(s, &header, NULL, 0);
    header = guest_header(VIRTIO_VSOCK_OP_RW, PORT, LISTENED);
    header.len = 1;
    guest_send(s, &header, "x", 1);
    CHECK(was_reset(s, PORT, LISTENED));
    close(fd);
    setup_destroy(s);
}

static void short_and_empty_packets_are_dropped(void)
{
    struct vsock_setup *s = setup_create();
    struct vsock_ring *tx = &s->rings[VSOCK_TX_QUEUE];
    for (uint16_t bytes = 0; bytes < sizeof(struct virtio_vsock_hdr); bytes += 43) {
        tx->descriptors[0] = (struct vring_desc){.addr = BUFFER_GPA(1u, 0u), .len = bytes};
        ring_offer(tx, 0);
        vsock_turn(s);
    }
    /* Writable where it has to be readable. */
    tx->descriptors[0] =
        (struct vring_desc){.addr = BUFFER_GPA(1u, 0u), .len = 100, .flags = VRING_DESC_F_WRITE};
    ring_offer(tx, 0);
    vsock_turn(s);
    CHECK(s->vsock.statistics.malformed == 3 && tx->used->idx == 3);
    setup_destroy(s);
}

static void header_in_one_byte_per_descriptor_is_read_and_written(void)
{
    struct vsock_setup *s = malloc(sizeof *s);
    vsock_setup_init(s, "", -1);
    CHECK(vsock_listen(&s->vsock, LISTENED) == 0);
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_REQUEST, PORT, LISTENED);
    memcpy(setup_at(s, BUFFER_GPA(1u, 0u)), &header, sizeof header);
    for (unsigned queue = 0; queue < 2; queue++) {
        uint16_t flags = queue == VSOCK_RX_QUEUE ? VRING_DESC_F_WRITE : 0;
        for (uint16_t i = 0; i < sizeof header; i++)
            s->rings[queue].descriptors[i] =
                (struct vring_desc){.addr = BUFFER_GPA(queue, 0u) + i,
                                    .len = 1,
                                    .flags = flags | (i < 43 ? VRING_DESC_F_NEXT : 0),
                                    .next = (uint16_t)(i + 1)};
        ring_offer(&s->rings[queue], 0);
    }
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RESPONSE);
    setup_destroy(s);
}

static void rx_buffers_without_room_come_back_empty(void)
{
    struct vsock_setup *s = malloc(sizeof *s);
    struct vring_used_elem element;
    vsock_setup_init(s, "", -1);
    CHECK(vsock_listen(&s->vsock, LISTENED) == 0);
    guest_give(s, VSOCK_RX_QUEUE, 0, 43);
    guest_give(s, VSOCK_RX_QUEUE, 1, 44);
    guest_say(s, VIRTIO_VSOCK_OP_REQUEST, PORT, LISTENED);
    CHECK(ring_take(&s->rings[0], &element) && element.id == 0 && element.len == 0);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RESPONSE);
    struct vsock_accepted accepted;
    CHECK(vsock_take_accepted(&s->vsock, &accepted));
    CHECK(send(accepted.fd, "data", 4, 0) == 4);
    /* Room for the header only, between and before buffers for data. */
    guest_give(s, VSOCK_RX_QUEUE, 2, 44);
    guest_give(s, VSOCK_RX_QUEUE, 3, 46);
    guest_give(s, VSOCK_RX_QUEUE, 4, 44);
    guest_give(s, VSOCK_RX_QUEUE, 5, 46);
    vsock_turn(s);
    CHECK(ring_take(&s->rings[0], &element) && element.id == 2 && element.len == 0);
    CHECK(ring_take(&s->rings[0], &element) && element.id == 3 && element.len == 46);
    CHECK(ring_take(&s->rings[0], &element) && element.id == 4 && element.len == 0);
    CHECK(ring_take(&s->rings[0], &element) && element.id == 5 && element.len == 46);
    close(accepted.fd);
    setup_destroy(s);
}

static void credit_that_lies_resets_that_connection_only(void)
{
    struct vsock_setup *s = setup_create();
    static uint8_t bytes[60000];
    int fd = establish(s, PORT), other = establish(s, 1);
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_RW, PORT, LISTENED);
    header.len = sizeof bytes;
    unsigned packets = 0;
    while (s->vsock.statistics.credit_lies == 0 && packets++ < 100) {
        guest_send(s, &header, bytes, sizeof bytes);
        CHECK(
            s->vsock.connections.next == s->vsock.connections.previous ||
            LIST_ELEMENT(s->vsock.connections.next, struct vsock_connection, all)->buffer.length <=
                VSOCK_BUFFER_BYTES);
    }
    CHECK(s->vsock.statistics.credit_lies == 1 && packets < 100);
    while (!was_reset(s, PORT, LISTENED) && packets++ < 100)
        continue;
    CHECK(packets < 100 && s->vsock.connection_count == 1);
    check_alive(s, other, 1);
    close(fd);
    close(other);
    setup_destroy(s);
}

static void guests_claims_about_its_buffer_are_never_exceeded(void)
{
    static const struct {
        uint32_t buf_alloc, fwd_cnt, credit;
    } CLAIMS[] = {{0, 0, 0}, {4, 0, 4}, {4, 1, 0}, {0xffffffff, 0xffffffff, 8}, {4, 0xfffffffe, 2}};
    struct vsock_setup *s = setup_create();
    for (unsigned i = 0; i < sizeof CLAIMS / sizeof *CLAIMS; i++) {
        int fd = establish(s, PORT);
        struct virtio_vsock_hdr header =
            guest_header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, PORT, LISTENED);
        header.buf_alloc = CLAIMS[i].buf_alloc;
        header.fwd_cnt = CLAIMS[i].fwd_cnt;
        guest_send(s, &header, NULL, 0);
        CHECK(send(fd, "01234567", 8, 0) == 8);
        uint32_t sent = 0;
        for (struct vsock_packet packet; (packet = guest_receive(s)).header.op != 0;)
            sent += packet.header.len;
        CHECK(sent == CLAIMS[i].credit);
        guest_say(s, VIRTIO_VSOCK_OP_RST, PORT, LISTENED);
        close(fd);
    }
    setup_destroy(s);
}

static void replies_that_nobody_takes_stop_the_guests_packets(void)
{
    struct vsock_setup *s = malloc(sizeof *s);
    vsock_setup_init(s, "", -1);
    unsigned sent = 0;
    for (; sent < 4 * VSOCK_REPLIES_MAX; sent++) {
        uint16_t used = s->rings[VSOCK_TX_QUEUE].used->idx;
        guest_say(s, VIRTIO_VSOCK_OP_RW, sent, 1);
        if (s->rings[VSOCK_TX_QUEUE].used->idx == used)
            break;
    }
    CHECK(sent == VSOCK_REPLIES_MAX);
    for (uint16_t slot = 0; slot < QUEUE_SIZE; slot++)
        guest_give(s, VSOCK_RX_QUEUE, slot, 64);
    for (unsigned i = 0; i < QUEUE_SIZE; i++)
        CHECK(was_reset(s, i, 1));
    CHECK(s->rings[VSOCK_TX_QUEUE].used->idx == VSOCK_REPLIES_MAX + 1);
    setup_destroy(s);
}

/* Floods a device of a process that may have so many descriptors open. */
static void flood(rlim_t descriptors)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = descriptors < limit.rlim_max ? descriptors : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    struct vsock_setup *s = setup_create();
    unsigned accepted = 0, refused = 0, requests = s->vsock.connections_max + 100;
    CHECK(s->vsock.connections_max <= limit.rlim_cur / VSOCK_DESCRIPTORS_SHARE);
    CHECK(s->vsock.connections_max <= VSOCK_CONNECTIONS_MAX);
    for (uint32_t port = 0; port < requests; port++) {
        guest_say(s, VIRTIO_VSOCK_OP_REQUEST, port, LISTENED);
        struct vsock_packet packet = guest_receive(s);
        accepted += packet.header.op == VIRTIO_VSOCK_OP_RESPONSE;
        refused += packet.header.op == VIRTIO_VSOCK_OP_RST;
        guest_give(s, VSOCK_RX_QUEUE, port % QUEUE_SIZE, 256);
    }
    CHECK(accepted == s->vsock.connections_max && refused == 100);
    CHECK(accepted == s->vsock.connection_count);
    CHECK(s->vsock.promised_bytes <=
          VSOCK_PROMISED_BYTES_MAX + (uint64_t)VSOCK_CONNECTIONS_MAX * VSOCK_BUFFER_BYTES_MIN);
    printf("%u connections\n", accepted);
    setup_destroy(s);
}

static void connection_floods_leave_descriptors_for_others(void)
{
    flood(400);
    flood(RLIM_INFINITY);
}

static void broken_rings_are_not_served(void)
{
    struct vsock_setup *s = malloc(sizeof *s);
    vsock_setup_init(s, "", -1);
    CHECK(vsock_listen(&s->vsock, LISTENED) == 0);
    s->rings[VSOCK_RX_QUEUE].available->idx = QUEUE_SIZE + 1;
    guest_say(s, VIRTIO_VSOCK_OP_REQUEST, PORT, LISTENED);
    CHECK(guest_receive(s).header.op == 0);
    CHECK(s->worker.queues[VSOCK_RX_QUEUE].broken != NULL);
    CHECK(s->worker.queues[VSOCK_RX_QUEUE].in_flight == 0);
    setup_destroy(s);
}

int main(void)
{
    hostile_packets_affect_no_other_connection();
    data_before_the_response_resets_the_connection();
    data_after_the_end_of_sending_resets_the_connection();
    short_and_empty_packets_are_dropped();
    header_in_one_byte_per_descriptor_is_read_and_written();
    rx_buffers_without_room_come_back_empty();
    credit_that_lies_resets_that_connection_only();
    guests_claims_about_its_buffer_are_never_exceeded();
    replies_that_nobody_takes_stop_the_guests_packets();
    connection_floods_leave_descriptors_for_others();
    broken_rings_are_not_served();
    return check_finish();
}
