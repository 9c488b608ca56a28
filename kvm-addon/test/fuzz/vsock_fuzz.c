/*
 * A socket device against a hostile driver and host programs that read, write and close
 * arbitrarily. Most packets are valid except for one field. The device must stay within guest
 * memory, its bounds and the guest's credit, and send only well-formed packets.
 */
#include "../vsock_setup.h"
#include "fuzz.h"

#include <stdio.h>

#define STEPS_MAX 400u
#define HOSTS_MAX 8u
#define GUEST_PORTS 4u
#define LISTENED 7u

struct session {
    struct vsock_setup setup;
    int hosts[HOSTS_MAX];      /* ends of host programs; -1: none */
    uint32_t ports[HOSTS_MAX]; /* host ports that the guest has seen */
    unsigned port_count;
};

static void host_keep(struct session *session, int fd)
{
    for (unsigned i = 0; i < HOSTS_MAX; i++) {
        if (session->hosts[i] < 0) {
            session->hosts[i] = fd;
            return;
        }
    }
    close(fd);
}

/* A step of a host program. */
static void host_step(struct session *session, uint8_t what, uint8_t which)
{
    static char bytes[70000];
    int *fd = &session->hosts[which % HOSTS_MAX];
    struct vsock_accepted accepted;

    while (vsock_take_accepted(&session->setup.vsock, &accepted))
        host_keep(session, accepted.fd);
    if ((what & 7) == 0) {
        int end = vsock_connect(&session->setup.vsock);
        REQUIRE(end >= 0);
        dprintf(end, "CONNECT %u\n", which % GUEST_PORTS);
        host_keep(session, end);
        return;
    }
    if (*fd < 0)
        return;
    switch (what & 7) {
    case 1:
    case 2:
        send(*fd, bytes, 1u << (what >> 4), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 3:
    case 4:
        recv(*fd, bytes, 1u << (what >> 4), MSG_DONTWAIT);
        break;
    case 5:
        shutdown(*fd, what & 16 ? SHUT_WR : SHUT_RD);
        break;
    case 6:
        close(*fd);
        *fd = -1;
        break;
    default:
        break;
    }
}

/* A packet that is valid except for what `odd` says. */
static void guest_step(struct session *session, struct fuzz_input *input)
{
    struct vsock_setup *setup = &session->setup;
    uint8_t kind = input_u8(input), which = input_u8(input), odd = input_u8(input);
    uint32_t host_port = LISTENED;
    static const uint8_t PAYLOAD[4096];

    if (session->port_count > 0 && which & 64)
        host_port = session->ports[which % session->port_count];
    struct virtio_vsock_hdr header = guest_header(kind & 7, which % GUEST_PORTS, host_port);
    uint32_t bytes = (kind & 7) == VIRTIO_VSOCK_OP_RW ? 1u << (kind >> 4) % 13 : 0;
    header.len = bytes;
    header.flags = (kind & 7) == VIRTIO_VSOCK_OP_SHUTDOWN ? kind >> 4 & 3 : 0;
    header.buf_alloc = 1u << (which >> 2 & 15);
    switch (odd & 31) {
    case 0:
        header.len = input_u32(input);
        break;
    case 1:
        header.op = input_u16(input);
        break;
    case 2:
        header.type = input_u16(input);
        break;
    case 3:
        header.src_cid = input_u64(input);
        break;
    case 4:
        header.dst_port = input_u32(input);
        break;
    case 5:
        header.buf_alloc = input_u32(input);
        break;
    case 6:
        header.fwd_cnt = input_u32(input);
        break;
    case 7:
        header.flags = input_u32(input);
        break;
    default:
        break;
    }
    guest_send(setup, &header, PAYLOAD, bytes);
}

/* Descriptors and indices that no driver would write. */
static void ring_step(struct session *session, struct fuzz_input *input)
{
    uint8_t kind = input_u8(input);
    struct vsock_ring *ring = &session->setup.rings[kind % QUEUES];
    struct vring_desc *descriptor = &ring->descriptors[(kind >> 2) % QUEUE_SIZE];

    switch (input_u8(input) & 7) {
    case 0:
        ring->available->idx += kind >> 4;
        break;
    case 1:
        descriptor->addr = input_u64(input);
        break;
    case 2:
        descriptor->flags = input_u16(input);
        descriptor->next = input_u16(input);
        break;
    case 3:
        descriptor->len = input_u32(input);
        break;
    default:
        ring_offer(ring, input_u8(input) % QUEUE_SIZE);
    }
}

/* Checks what the device has sent, and records its ports. */
static void packets_check(struct session *session)
{
    struct vsock_setup *setup = &session->setup;
    struct vring_used_elem element;

    while (ring_take(&setup->rings[VSOCK_RX_QUEUE], &element)) {
        struct vring_desc descriptor =
            setup->rings[VSOCK_RX_QUEUE].descriptors[element.id % QUEUE_SIZE];
        struct virtio_vsock_hdr header;
        const void *bytes = guest_memory_at(&setup->memory, descriptor.addr, sizeof header);
        /* ring_step() may have changed the rest. */
        if (element.len < sizeof header || !bytes || descriptor.len < sizeof header ||
            descriptor.addr < BUFFER_GPA(0u, 0u))
            continue;
        memcpy(&header, bytes, sizeof header);
        if (header.op == VIRTIO_VSOCK_OP_REQUEST && session->port_count < HOSTS_MAX)
            session->ports[session->port_count++] = header.src_port;
    }
}

static void bounds_check(const struct vsock *vsock)
{
    uint64_t promised = 0;
    unsigned count = 0;

    for (struct list *link = vsock->connections.next; link != &vsock->connections;
         link = link->next) {
        struct vsock_connection *connection = LIST_ELEMENT(link, struct vsock_connection, all);
        REQUIRE(connection->buffer.length <= connection->buffer_bytes);
        REQUIRE(connection->received - connection->forwarded == connection->buffer.length);
        REQUIRE(list_is_empty(&connection->ready) || connection->send ||
                connection->state == VSOCK_ESTABLISHED);
        promised += connection->buffer_bytes;
        count++;
    }
    REQUIRE(count == vsock->connection_count && count <= vsock->connections_max);
    REQUIRE(promised == vsock->promised_bytes);
    REQUIRE(vsock->reply_count <= VSOCK_REPLIES_MAX);
}

static void session_step(struct session *session, struct fuzz_input *input)
{
    uint8_t kind = input_u8(input);
    struct vsock_setup *setup = &session->setup;

    switch (kind & 7) {
    case 0:
    case 1:
    case 2:
        guest_step(session, input);
        break;
    case 3:
    case 4:
        host_step(session, input_u8(input), kind >> 3);
        vsock_turn(setup);
        break;
    case 5:
        guest_give(setup, VSOCK_RX_QUEUE, kind >> 3, 40u + (1u << (kind >> 4)));
        vsock_turn(setup);
        break;
    case 6:
        if (kind >> 3 == 1) {
            vsock_setup_stop(setup);
            vsock_reset(&setup->vsock, true);
            vsock_setup_start(setup);
        } else {
            guest_give(setup, VSOCK_RX_QUEUE, kind >> 3, 4096);
        }
        vsock_turn(setup);
        break;
    default:
        if (kind & 8)
            ring_step(session, input);
        vsock_turn(setup);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct session session;
    struct fuzz_input input = {.data = data, .size = size};

    session.port_count = 0;
    for (unsigned i = 0; i < HOSTS_MAX; i++)
        session.hosts[i] = -1;
    vsock_setup_init(&session.setup, "", -1);
    REQUIRE(vsock_listen(&session.setup.vsock, LISTENED) == 0);
    for (uint16_t slot = 0; slot < QUEUE_SIZE / 2; slot++)
        guest_give(&session.setup, VSOCK_RX_QUEUE, slot, 1024);
    for (unsigned step = 0; step < STEPS_MAX && input.size > 0; step++) {
        session_step(&session, &input);
        packets_check(&session);
        bounds_check(&session.setup.vsock);
    }
    for (unsigned i = 0; i < HOSTS_MAX; i++) {
        if (session.hosts[i] >= 0)
            close(session.hosts[i]);
    }
    vsock_setup_free(&session.setup);
    return 0;
}
