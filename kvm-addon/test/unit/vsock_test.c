/* What a socket device does for a driver that keeps to the specification. */
#include "../../src/virtio/vsock.h"

#include <errno.h>
#include <stdio.h>

#include <netinet/in.h>

#include "../../src/util/tcp_socket.h"
#include "../../src/util/unix_socket.h"
#include "../check.h"
#include "../host_file.h"
#include "../vsock_setup.h"

#define PORT 1234u
#define RX_BYTES 4096u

static void fill_rx(struct vsock_setup *s)
{
    for (uint16_t slot = 0; slot < QUEUE_SIZE; slot++)
        guest_give(s, VSOCK_RX_QUEUE, slot, RX_BYTES);
}

static struct vsock_setup *setup_create(void)
{
    struct vsock_setup *s = malloc(sizeof *s);
    vsock_setup_init(s, "", -1);
    fill_rx(s);
    return s;
}

static void setup_destroy(struct vsock_setup *s)
{
    vsock_setup_free(s);
    free(s);
}

/* A connection from this process that the guest has accepted. Returns the host's end. */
static int connect_to_guest(struct vsock_setup *s, uint32_t *host_port, uint32_t buffer_bytes)
{
    char line[32] = {0};
    int fd = vsock_connect(&s->vsock);
    CHECK(dprintf(fd, "CONNECT %u\n", PORT) > 0);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_REQUEST && packet.header.dst_port == PORT &&
          packet.header.src_cid == VSOCK_HOST_CID && packet.header.dst_cid == GUEST_CID &&
          packet.header.type == VIRTIO_VSOCK_TYPE_STREAM && packet.header.len == 0);
    *host_port = packet.header.src_port;
    struct virtio_vsock_hdr response = guest_header(VIRTIO_VSOCK_OP_RESPONSE, PORT, *host_port);
    response.buf_alloc = buffer_bytes;
    guest_send(s, &response, NULL, 0);
    char expected[32];
    snprintf(expected, sizeof expected, "OK %u\n", *host_port);
    CHECK(recv(fd, line, sizeof line - 1, MSG_DONTWAIT) > 0 && strcmp(line, expected) == 0);
    return fd;
}

/* A connection from the guest to a port that this process listens on. */
static int accept_from_guest(struct vsock_setup *s, uint32_t guest_port, uint32_t host_port)
{
    struct vsock_accepted accepted = {.fd = -1};
    guest_say(s, VIRTIO_VSOCK_OP_REQUEST, guest_port, host_port);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_RESPONSE && packet.header.dst_port == guest_port &&
          packet.header.src_port == host_port && packet.header.buf_alloc == VSOCK_BUFFER_BYTES);
    CHECK(vsock_take_accepted(&s->vsock, &accepted) && accepted.host_port == host_port &&
          accepted.guest_port == guest_port);
    return accepted.fd;
}

static void guest_writes(struct vsock_setup *s, uint32_t host_port, const void *bytes,
                         uint32_t length)
{
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_RW, PORT, host_port);
    header.len = length;
    guest_send(s, &header, bytes, length);
}

static bool ended(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void data_goes_both_ways(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t port;
    char bytes[16] = {0};
    int fd = connect_to_guest(s, &port, 1u << 20);
    CHECK(send(fd, "hello", 5, 0) == 5);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_RW && packet.header.len == 5 &&
          memcmp(packet.payload, "hello", 5) == 0);
    guest_writes(s, port, "world!", 6);
    CHECK(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) == 6 && memcmp(bytes, "world!", 6) == 0);
    CHECK(s->vsock.statistics.tx_bytes == 6 && s->vsock.statistics.rx_bytes == 5);
    close(fd);
    setup_destroy(s);
}

static void one_read_fills_several_buffers(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t port;
    enum { BYTES = 100000 };
    static uint8_t sent[BYTES], got[BYTES];
    size_t count = 0;
    int fd = connect_to_guest(s, &port, 1u << 20);
    for (unsigned i = 0; i < BYTES; i++)
        sent[i] = (uint8_t)(i * 7 + (i >> 8));
    CHECK(send(fd, sent, BYTES, MSG_DONTWAIT) == BYTES);
    for (struct vsock_packet packet; (packet = guest_receive(s)).header.op == VIRTIO_VSOCK_OP_RW;) {
        CHECK(packet.header.len <= RX_BYTES - sizeof packet.header);
        if (count + packet.header.len <= BYTES)
            memcpy(got + count, packet.payload, packet.header.len);
        count += packet.header.len;
    }
    CHECK(count == BYTES && memcmp(sent, got, BYTES) == 0);
    close(fd);
    setup_destroy(s);
}

static void guest_connects_to_a_port_of_the_process(void)
{
    struct vsock_setup *s = setup_create();
    CHECK(vsock_listen(&s->vsock, 77) == 0);
    CHECK(vsock_listen(&s->vsock, 77) == -EADDRINUSE);
    int fd = accept_from_guest(s, PORT, 77);
    guest_writes(s, 77, "abc", 3);
    char bytes[8];
    CHECK(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) == 3);
    close(fd);
    vsock_unlisten(&s->vsock, 77);
    guest_say(s, VIRTIO_VSOCK_OP_REQUEST, PORT + 1, 77);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_SHUTDOWN && packet.header.dst_port == PORT);
    packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_RST && packet.header.dst_port == PORT + 1);
    setup_destroy(s);
}

static void guest_connects_to_a_socket_file(void)
{
    char folder[PATH_MAX], path[PATH_MAX + 8], file[PATH_MAX + 16];
    temporary_template(folder);
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/v", folder);
    snprintf(file, sizeof file, "%s_88", path);
    struct vsock_setup *s = malloc(sizeof *s);
    vsock_setup_init(s, path, -1);
    fill_rx(s);
    int listener = unix_socket_listen(file);
    CHECK(listener >= 0);
    guest_say(s, VIRTIO_VSOCK_OP_REQUEST, PORT, 88);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RESPONSE);
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    guest_say(s, VIRTIO_VSOCK_OP_REQUEST, PORT, 89);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RST);
    close(fd);
    close(listener);
    unlink(file);
    rmdir(folder);
    setup_destroy(s);
}

static void host_half_close_is_a_shutdown(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t port;
    int fd = connect_to_guest(s, &port, 1u << 20);
    CHECK(send(fd, "x", 1, 0) == 1 && shutdown(fd, SHUT_WR) == 0);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RW);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_SHUTDOWN &&
          packet.header.flags == VIRTIO_VSOCK_SHUTDOWN_SEND);
    guest_writes(s, port, "still", 5);
    char bytes[8];
    CHECK(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) == 5);
    close(fd);
    packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_SHUTDOWN && packet.header.flags == 3);
    CHECK(s->vsock.connection_count == 1);
    guest_say(s, VIRTIO_VSOCK_OP_RST, PORT, port);
    CHECK(s->vsock.connection_count == 0 && s->vsock.promised_bytes == 0);
    setup_destroy(s);
}

static void guest_half_close_is_the_end_of_the_stream(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t port;
    int fd = connect_to_guest(s, &port, 1u << 20);
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_SHUTDOWN, PORT, port);
    header.flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
    guest_send(s, &header, NULL, 0);
    CHECK(ended(fd));
    CHECK(send(fd, "y", 1, MSG_NOSIGNAL) == 1);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RW);
    header.flags = VIRTIO_VSOCK_SHUTDOWN_RCV;
    guest_send(s, &header, NULL, 0);
    CHECK(send(fd, "y", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RST);
    CHECK(s->vsock.connection_count == 0);
    close(fd);
    setup_destroy(s);
}

static void guest_that_does_not_receive_breaks_the_pipe(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t port;
    int fd = connect_to_guest(s, &port, 1u << 20);
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_SHUTDOWN, PORT, port);
    header.flags = VIRTIO_VSOCK_SHUTDOWN_RCV;
    guest_send(s, &header, NULL, 0);
    CHECK(send(fd, "y", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
    guest_writes(s, port, "data", 4);
    char bytes[8];
    CHECK(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) == 4);
    close(fd);
    setup_destroy(s);
}

static void data_before_a_close_arrives(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t port, sent = 0, got = 0;
    static uint8_t bytes[60000];
    int fd = connect_to_guest(s, &port, 1u << 20);
    /* More than the socket holds: the rest is in the device's buffer. */
    for (; sent + sizeof bytes <= VSOCK_BUFFER_BYTES; sent += sizeof bytes)
        guest_writes(s, port, bytes, sizeof bytes);
    guest_writes(s, port, bytes, 10000);
    sent += 10000;
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_SHUTDOWN, PORT, port);
    header.flags = 3;
    guest_send(s, &header, NULL, 0);
    while (guest_receive(s).header.op != VIRTIO_VSOCK_OP_RST)
        continue;
    for (ssize_t part; (part = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;) {
        got += (uint32_t)part;
        vsock_turn(s);
    }
    CHECK(got == sent && ended(fd));
    CHECK(s->vsock.connection_count == 0 && s->vsock.promised_bytes == 0);
    close(fd);
    setup_destroy(s);
}

static void guests_credit_is_kept(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t port;
    int fd = connect_to_guest(s, &port, 10);
    CHECK(send(fd, "0123456789abcdef", 16, 0) == 16);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_RW && packet.header.len == 10);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST);
    CHECK(guest_receive(s).header.op == 0);
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, PORT, port);
    header.buf_alloc = 10;
    header.fwd_cnt = 4;
    guest_send(s, &header, NULL, 0);
    packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_RW && packet.header.len == 4 &&
          memcmp(packet.payload, "abcd", 4) == 0);
    close(fd);
    setup_destroy(s);
}

static void credit_is_given_back_as_the_host_reads(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t port, sent = 0;
    static uint8_t bytes[60000];
    int fd = connect_to_guest(s, &port, 1u << 20);
    for (; sent < VSOCK_BUFFER_BYTES / 4 * 3; sent += sizeof bytes)
        guest_writes(s, port, bytes, sizeof bytes);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE && packet.header.fwd_cnt > 0 &&
          packet.header.fwd_cnt <= sent && packet.header.buf_alloc == VSOCK_BUFFER_BYTES);
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        vsock_turn(s);
    guest_say(s, VIRTIO_VSOCK_OP_CREDIT_REQUEST, PORT, port);
    while (packet.header.fwd_cnt != sent &&
           (packet = guest_receive(s)).header.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
        continue;
    CHECK(packet.header.fwd_cnt == sent);
    close(fd);
    setup_destroy(s);
}

static void slow_reader_stalls_no_other_connection(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t slow_port, port;
    char bytes[8];
    static uint8_t flood[60000];
    int slow = connect_to_guest(s, &slow_port, 0);
    CHECK(send(slow, "never", 5, 0) == 5);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST);
    for (unsigned i = 0; i < 4; i++)
        guest_writes(s, slow_port, flood, sizeof flood);
    while (guest_receive(s).header.op != 0)
        continue;
    fill_rx(s);
    int fd = connect_to_guest(s, &port, 1u << 20);
    CHECK(send(fd, "now", 3, 0) == 3);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RW);
    guest_writes(s, port, "now", 3);
    CHECK(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) == 3);
    close(fd);
    close(slow);
    setup_destroy(s);
}

static void turns_are_taken_by_all_connections(void)
{
    struct vsock_setup *s = malloc(sizeof *s);
    uint32_t ports[2], got[2] = {0};
    int fds[2];
    static uint8_t bytes[150000];
    vsock_setup_init(s, "", -1);
    for (unsigned i = 0; i < 2; i++) {
        guest_give(s, VSOCK_RX_QUEUE, (uint16_t)i, RX_BYTES);
        fds[i] = connect_to_guest(s, &ports[i], 1u << 20);
    }
    for (unsigned i = 0; i < 2; i++)
        CHECK(send(fds[i], bytes, sizeof bytes, MSG_DONTWAIT) == sizeof bytes);
    fill_rx(s);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        struct vsock_packet packet = guest_receive(s);
        got[packet.header.src_port == ports[1]] += packet.header.len;
    }
    CHECK(got[0] > 80000 && got[1] > 80000);
    close(fds[0]);
    close(fds[1]);
    setup_destroy(s);
}

static void connections_survive_a_pause_and_not_a_reset(void)
{
    struct vsock_setup *s = setup_create();
    uint32_t port;
    int fd = connect_to_guest(s, &port, 1u << 20);
    vsock_setup_stop(s);
    CHECK(send(fd, "late", 4, 0) == 4);
    vsock_setup_start(s);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RW);
    vsock_setup_stop(s);
    vsock_reset(&s->vsock, false);
    CHECK(ended(fd));
    vsock_setup_start(s);
    CHECK(guest_receive(s).header.op == 0);
    close(fd);
    setup_destroy(s);
}

static void restored_guest_is_told_that_its_connections_are_gone(void)
{
    struct vsock_setup *s = setup_create();
    struct vring_used_elem element;
    guest_give(s, VSOCK_EVENT_QUEUE, 0, 2);
    guest_give(s, VSOCK_EVENT_QUEUE, 1, 8);
    vsock_turn(s);
    CHECK(!ring_take(&s->rings[VSOCK_EVENT_QUEUE], &element));
    vsock_setup_stop(s);
    vsock_reset(&s->vsock, true);
    vsock_setup_start(s);
    memset(setup_at(s, BUFFER_GPA(VSOCK_EVENT_QUEUE, 1)), 0xff, 8);
    vsock_turn(s);
    CHECK(ring_take(&s->rings[VSOCK_EVENT_QUEUE], &element) && element.len == 2);
    CHECK(ring_take(&s->rings[VSOCK_EVENT_QUEUE], &element) && element.len == 4);
    uint32_t id;
    memcpy(&id, setup_at(s, BUFFER_GPA(VSOCK_EVENT_QUEUE, 1)), sizeof id);
    CHECK(id == VIRTIO_VSOCK_EVENT_TRANSPORT_RESET && !s->vsock.event_reset);
    setup_destroy(s);
}

static void refused_and_impolite_programs_see_the_end(void)
{
    struct vsock_setup *s = setup_create();
    static const char *const LINES[] = {"CONNECT x\n",   "CONNECT -1\n", "CONNECT 4294967296\n",
                                        "CONNECT 1 2\n", "connect 1\n",  "\n"};
    for (unsigned i = 0; i < sizeof LINES / sizeof *LINES; i++) {
        int fd = vsock_connect(&s->vsock);
        CHECK(send(fd, LINES[i], strlen(LINES[i]), 0) > 0);
        vsock_turn(s);
        CHECK(ended(fd));
        close(fd);
    }
    /* Those that leave within their line. */
    for (unsigned i = 0; i < 2; i++) {
        int leaving = vsock_connect(&s->vsock);
        CHECK(send(leaving, "CONN", 4, 0) == 4);
        vsock_turn(s);
        CHECK(s->vsock.connection_count == 1);
        CHECK(i == 0 ? close(leaving) == 0 : shutdown(leaving, SHUT_WR) == 0);
        vsock_turn(s);
        CHECK(s->vsock.connection_count == 0);
        if (i == 1)
            close(leaving);
    }
    int fd = vsock_connect(&s->vsock);
    CHECK(send(fd, "CONNECT 1234\r\n", 14, 0) == 14);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_REQUEST);
    guest_say(s, VIRTIO_VSOCK_OP_RST, PORT, packet.header.src_port);
    CHECK(ended(fd) && s->vsock.connection_count == 0);
    CHECK(s->vsock.statistics.refused == 3 + sizeof LINES / sizeof *LINES);
    close(fd);
    setup_destroy(s);
}

static void guest_that_does_not_answer_refuses(void)
{
    struct vsock_setup *s = setup_create();
    int fd = vsock_connect(&s->vsock);
    CHECK(dprintf(fd, "CONNECT %u\n", PORT) > 0);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_REQUEST);
    CHECK(s->vsock.request_timer.set);
    struct vsock_connection *connection =
        LIST_ELEMENT(s->vsock.requested.next, struct vsock_connection, waiting);
    s->vsock.request_timer.expired(&s->vsock.request_timer);
    CHECK(!ended(fd) && s->vsock.request_timer.set);
    connection->deadline_ns = 1;
    s->vsock.request_timer.expired(&s->vsock.request_timer);
    CHECK(ended(fd) && list_is_empty(&s->vsock.requested));
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RST && s->vsock.connection_count == 0);
    close(fd);
    setup_destroy(s);
}

/* Publishes a TCP port of the loopback interface. */
static void publish(struct vsock_setup *s, struct sockaddr_in *address)
{
    int fd = tcp_socket_listen("127.0.0.1", 0);
    socklen_t length = sizeof *address;
    CHECK(fd >= 0 && getsockname(fd, (struct sockaddr *)address, &length) == 0);
    CHECK(vsock_publish(&s->vsock, fd, PORT) == 0);
    vsock_turn(s);
}

/* A client of a published port. The guest has been asked for a connection. */
static int client_connect(struct vsock_setup *s, const struct sockaddr_in *address,
                          uint32_t *host_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_REQUEST && packet.header.dst_port == PORT);
    *host_port = packet.header.src_port;
    return fd;
}

static int client_connected(struct vsock_setup *s, const struct sockaddr_in *address,
                            uint32_t *host_port)
{
    int fd = client_connect(s, address, host_port);
    guest_say(s, VIRTIO_VSOCK_OP_RESPONSE, PORT, *host_port);
    return fd;
}

static bool was_reset(int fd)
{
    char byte;
    return recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET;
}

static void published_port_leads_to_the_guest(void)
{
    struct vsock_setup *s = setup_create();
    struct sockaddr_in address;
    uint32_t port;
    char bytes[16] = {0};
    publish(s, &address);
    int fd = client_connected(s, &address, &port);
    /* The server speaks first. */
    guest_writes(s, port, "hello", 5);
    CHECK(recv(fd, bytes, sizeof bytes, 0) == 5 && memcmp(bytes, "hello", 5) == 0);
    CHECK(send(fd, "world!", 6, 0) == 6);
    struct vsock_packet packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_RW && packet.header.len == 6 &&
          memcmp(packet.payload, "world!", 6) == 0);
    /* Both half-closes, the client's first. */
    shutdown(fd, SHUT_WR);
    packet = guest_receive(s);
    CHECK(packet.header.op == VIRTIO_VSOCK_OP_SHUTDOWN &&
          packet.header.flags == VIRTIO_VSOCK_SHUTDOWN_SEND);
    guest_writes(s, port, "end", 3);
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_SHUTDOWN, PORT, port);
    header.flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
    guest_send(s, &header, NULL, 0);
    CHECK(recv(fd, bytes, sizeof bytes, 0) == 3 && ended(fd));
    close(fd);
    setup_destroy(s);
}

static void client_of_a_published_port_sees_refusals_and_aborts(void)
{
    struct vsock_setup *s = setup_create();
    struct sockaddr_in address;
    uint32_t port;
    publish(s, &address);
    int fd = client_connect(s, &address, &port);
    guest_say(s, VIRTIO_VSOCK_OP_RST, PORT, port);
    CHECK(was_reset(fd));
    close(fd);
    fd = client_connected(s, &address, &port);
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_SHUTDOWN, PORT, port);
    header.flags = VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV;
    guest_send(s, &header, NULL, 0);
    CHECK(was_reset(fd) && list_is_empty(&s->vsock.connections));
    close(fd);
    while (guest_receive(s).header.op != 0)
        continue;
    /* And the guest sees the client's reset. */
    fd = client_connected(s, &address, &port);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_RST);
    setup_destroy(s);
}

static void published_port_waits_during_a_pause_and_is_free_at_the_end(void)
{
    struct vsock_setup *s = setup_create();
    struct sockaddr_in address;
    publish(s, &address);
    vsock_setup_stop(s);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    vsock_setup_start(s);
    CHECK(guest_receive(s).header.op == VIRTIO_VSOCK_OP_REQUEST);
    int taken = tcp_socket_listen("127.0.0.1", ntohs(address.sin_port));
    CHECK(taken == -EADDRINUSE);
    setup_destroy(s);
    close(fd);
    int again = tcp_socket_listen("127.0.0.1", ntohs(address.sin_port));
    CHECK(again >= 0);
    close(again);
    CHECK(tcp_socket_listen("no address", 0) == -EINVAL);
}

/* More clients than the device has room for: the others are refused, and later ones are served. */
static void flood_of_a_published_port_is_bounded(void)
{
    struct vsock_setup *s = setup_create();
    struct sockaddr_in address;
    enum { MOST = 4, CLIENTS = 12 };
    int clients[CLIENTS];
    s->vsock.connections_max = MOST;
    publish(s, &address);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(connect(clients[i], (struct sockaddr *)&address, sizeof address) == 0);
    }
    vsock_turn(s);
    CHECK(s->vsock.connection_count == MOST);
    CHECK(s->vsock.statistics.refused == CLIENTS - MOST && was_reset(clients[CLIENTS - 1]));
    uint32_t first = guest_receive(s).header.src_port;
    guest_say(s, VIRTIO_VSOCK_OP_RST, PORT, first);
    CHECK(was_reset(clients[0]));
    for (unsigned i = 0; i < CLIENTS; i++)
        close(clients[i]);
    setup_destroy(s);
}

int main(void)
{
    data_goes_both_ways();
    one_read_fills_several_buffers();
    guest_connects_to_a_port_of_the_process();
    guest_connects_to_a_socket_file();
    host_half_close_is_a_shutdown();
    guest_half_close_is_the_end_of_the_stream();
    guest_that_does_not_receive_breaks_the_pipe();
    data_before_a_close_arrives();
    guests_credit_is_kept();
    credit_is_given_back_as_the_host_reads();
    slow_reader_stalls_no_other_connection();
    turns_are_taken_by_all_connections();
    connections_survive_a_pause_and_not_a_reset();
    restored_guest_is_told_that_its_connections_are_gone();
    refused_and_impolite_programs_see_the_end();
    published_port_leads_to_the_guest();
    client_of_a_published_port_sees_refusals_and_aborts();
    published_port_waits_during_a_pause_and_is_free_at_the_end();
    flood_of_a_published_port_is_bounded();
    guest_that_does_not_answer_refuses();
    return check_finish();
}
