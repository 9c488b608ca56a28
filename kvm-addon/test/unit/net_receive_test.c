/* Reception of virtio-net through a queue worker. */
#include "../net_setup.h"

#define BUFFER_BYTES 2048u
#define BUFFER_GPA(index) (BUFFERS_GPA + (index)*0x20000u)
#define MERGEABLE FEATURE(VIRTIO_NET_F_MRG_RXBUF)

static void buffer_offer(struct setup *s, uint16_t index, uint32_t bytes)
{
    describe(s, index, BUFFER_GPA(index), bytes, WRITE, 0);
    offer(s, index);
}

static uint16_t num_buffers(struct setup *s, uint16_t index)
{
    return ((const struct virtio_net_hdr_v1 *)at(s, BUFFER_GPA(index)))->num_buffers;
}

/* Sends a frame as the tap device does: a header and the frame in one message. */
static void packet_send(struct setup *s, uint32_t bytes, uint8_t first)
{
    static uint8_t packet[NET_HEADER_BYTES + NET_FRAME_BYTES_MAX];
    memset(packet, 0, NET_HEADER_BYTES);
    packet[1] = VIRTIO_NET_HDR_GSO_TCPV4;
    for (uint32_t i = 0; i < bytes; i++)
        packet[NET_HEADER_BYTES + i] = (uint8_t)(first + i);
    CHECK(write(s->peer, packet, NET_HEADER_BYTES + bytes) == NET_HEADER_BYTES + (ssize_t)bytes);
}

static void frame_send(struct setup *s, int type, uint32_t bytes, uint8_t first)
{
    if (type == SOCK_STREAM)
        peer_send(s, bytes, first);
    else
        packet_send(s, bytes, first);
}

/* Expects a frame in chains `head`, `head` + 1, ... of BUFFER_BYTES each. */
static void frame_expect(struct setup *s, uint16_t head, uint32_t bytes, uint8_t first)
{
    uint32_t left = NET_HEADER_BYTES + bytes, done = 0;
    uint16_t count = (uint16_t)((left + BUFFER_BYTES - 1) / BUFFER_BYTES);
    for (uint16_t i = 0; i < count; i++) {
        struct vring_used_elem element = await_used(s);
        uint32_t part = left < BUFFER_BYTES ? left : BUFFER_BYTES;
        CHECK(element.id == head + i && element.len == part);
        const uint8_t *data = at(s, BUFFER_GPA(head + i));
        uint32_t skip = i == 0 ? NET_HEADER_BYTES : 0;
        CHECK(bytes_are(data + skip, part - skip, (uint8_t)(first + done)));
        done += part - skip;
        left -= part;
    }
    CHECK(num_buffers(s, head) == count);
}

static void frame_fills_a_buffer(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, MERGEABLE);
    buffer_offer(&s, 0, BUFFER_BYTES);
    buffer_offer(&s, 1, BUFFER_BYTES);
    frame_send(&s, type, 60, 5);
    frame_expect(&s, 0, 60, 5);
    frame_send(&s, type, 1514, 6);
    frame_expect(&s, 1, 1514, 6);
    CHECK(counter_await(&s.net.received.bytes, 60 + 1514));
    setup_close(&s);
}

static void large_frame_fills_several_buffers(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, MERGEABLE);
    for (uint16_t i = 0; i < QUEUE_SIZE; i++)
        buffer_offer(&s, i, BUFFER_BYTES);
    /* The first one is not expected, the second one is. */
    frame_send(&s, type, 14000, 1);
    frame_expect(&s, 0, 14000, 1);
    frame_send(&s, type, 14000, 2);
    frame_expect(&s, 7, 14000, 2);
    frame_send(&s, type, 60, 3);
    frame_expect(&s, 14, 60, 3);
    setup_close(&s);
}

static void header_of_the_tap_device_reaches_the_driver(void)
{
    struct setup s;
    setup_open(&s, SOCK_SEQPACKET, RECEIVE, MERGEABLE);
    buffer_offer(&s, 0, BUFFER_BYTES);
    packet_send(&s, 60, 1);
    CHECK(await_used(&s).len == NET_HEADER_BYTES + 60);
    CHECK(at(&s, BUFFER_GPA(0))[1] == VIRTIO_NET_HDR_GSO_TCPV4);
    setup_close(&s);
}

static void frame_waits_for_buffers(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, MERGEABLE);
    frame_send(&s, type, 5000, 1);
    frame_send(&s, type, 60, 2);
    for (uint16_t i = 0; i < 4; i++)
        buffer_offer(&s, i, BUFFER_BYTES);
    frame_expect(&s, 0, 5000, 1);
    frame_expect(&s, 3, 60, 2);
    CHECK(counter_read(&s.net.received.dropped) == 0);
    setup_close(&s);
}

static void frame_without_enough_buffers_is_dropped_in_the_end(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, MERGEABLE);
    buffer_offer(&s, 0, BUFFER_BYTES);
    frame_send(&s, type, 5000, 1);
    frame_send(&s, type, 60, 2);
    frame_expect(&s, 0, 60, 2);
    CHECK(counter_read(&s.net.received.dropped) == 1);
    setup_close(&s);
}

static void frame_longer_than_one_buffer_is_dropped_without_merging(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, 0);
    buffer_offer(&s, 0, BUFFER_BYTES);
    buffer_offer(&s, 1, BUFFER_BYTES);
    frame_send(&s, type, 3000, 1);
    frame_send(&s, type, 60, 2);
    frame_expect(&s, 0, 60, 2);
    CHECK(counter_read(&s.net.received.dropped) == 1);
    setup_close(&s);
}

static void buffers_may_be_a_byte_long(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, MERGEABLE);
    /* A chain of bytes for the header, and one that only the device may read. */
    for (uint16_t i = 0; i < NET_HEADER_BYTES; i++)
        describe(&s, i, BUFFER_GPA(0) + i, 1, WRITE | NEXT, (uint16_t)(i + 1));
    describe(&s, NET_HEADER_BYTES, BUFFER_GPA(1), 100, WRITE, 0);
    offer(&s, 0);
    frame_send(&s, type, 60, 1);
    struct vring_used_elem element = await_used(&s);
    CHECK(element.id == 0 && element.len == NET_HEADER_BYTES + 60);
    CHECK(num_buffers(&s, 0) == 1);
    CHECK(bytes_are(at(&s, BUFFER_GPA(1)), 60, 1));
    setup_close(&s);
}

static void device_readable_buffers_are_left_alone(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, MERGEABLE);
    describe(&s, 0, BUFFER_GPA(0), 100, NEXT, 1);
    describe(&s, 1, BUFFER_GPA(1), BUFFER_BYTES, WRITE, 0);
    offer(&s, 0);
    buffer_offer(&s, 2, BUFFER_BYTES);
    frame_send(&s, type, 60, 1);
    CHECK(await_used(&s).len == NET_HEADER_BYTES + 60);
    CHECK(at(&s, BUFFER_GPA(0))[20] == 0);
    CHECK(bytes_are(at(&s, BUFFER_GPA(1)) + NET_HEADER_BYTES, 60, 1));
    setup_close(&s);
}

/* A stop returns no buffer; the next run uses the same ones. */
static void stop_gives_buffers_back(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, MERGEABLE);
    for (uint16_t i = 0; i < 8; i++)
        buffer_offer(&s, i, BUFFER_BYTES);
    frame_send(&s, type, 14000, 1);
    frame_expect(&s, 0, 14000, 1);
    /* Buffer 7 is staged, and with half of a frame in it: the driver has to wait for more. */
    frame_send(&s, type, 5000, 2);
    CHECK(device_stop(&s.device));
    CHECK(s.device.driver.used->idx == 7);
    start(&s);
    frame_send(&s, type, 60, 3);
    /* A stream keeps what it has not delivered; a tap device's frame is lost with the stop. */
    CHECK(counter_await(&s.net.received.dropped, 1));
    frame_expect(&s, 7, 60, 3);
    setup_close(&s);
}

static bool has_used(struct setup *s)
{
    return __atomic_load_n(&s->device.driver.used->idx, __ATOMIC_ACQUIRE) > 0;
}

static void frames_are_dropped_while_the_link_is_down(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, MERGEABLE);
    net_port_set_link(s.port, false);
    buffer_offer(&s, 0, BUFFER_BYTES);
    frame_send(&s, type, 60, 1);
    CHECK(counter_await(&s.net.received.dropped, 1));
    net_port_set_link(s.port, true);
    /* The worker may still be dropping what comes: another frame follows each that it drops. */
    for (uint64_t drops = 1; drops > 0;) {
        frame_send(&s, type, 60, 2);
        while (!has_used(&s) && counter_read(&s.net.received.dropped) == drops)
            sched_yield();
        drops = has_used(&s) ? 0 : drops + 1;
    }
    frame_expect(&s, 0, 60, 2);
    setup_close(&s);
}

/* Waits until the worker sleeps, so that it finds all of the next frames at once. */
static void frames_send_at_once(struct setup *s, const uint32_t *bytes, unsigned count)
{
    pthread_mutex_lock(&s->device.worker.turn);
    while (!s->device.worker.sleeping) {
        pthread_mutex_unlock(&s->device.worker.turn);
        sched_yield();
        pthread_mutex_lock(&s->device.worker.turn);
    }
    for (unsigned i = 0; i < count; i++)
        packet_send(s, bytes[i], (uint8_t)i);
    pthread_mutex_unlock(&s->device.worker.turn);
}

/* Batches of the tap device, with frames that need more than the buffer they are read into. */
static void frames_of_a_batch_arrive_whole_and_in_order(void)
{
    static const uint32_t BATCHES[][5] = {
        {60, 61, 62, 63, 1514}, {60, 5000, 61, 62, 63}, {5000, 60, 61, 3000, 62}};
    for (unsigned b = 0; b < sizeof BATCHES / sizeof BATCHES[0]; b++) {
        struct setup s;
        setup_open(&s, SOCK_SEQPACKET, RECEIVE, MERGEABLE);
        uint16_t head = 0;
        for (uint16_t i = 0; i < QUEUE_SIZE; i++)
            buffer_offer(&s, i, BUFFER_BYTES);
        frames_send_at_once(&s, BATCHES[b], 5);
        for (unsigned i = 0; i < 5; i++) {
            frame_expect(&s, head, BATCHES[b][i], (uint8_t)i);
            head += (uint16_t)((NET_HEADER_BYTES + BATCHES[b][i] - 1) / BUFFER_BYTES + 1);
        }
        CHECK(counter_read(&s.net.received.dropped) == 0);
        CHECK(counter_await(&s.net.received.frames, 5));
        setup_close(&s);
    }
}

/* A frame too short to be one leaves its buffer to the next. */
static void runt_amid_a_batch_is_left_out(void)
{
    static const uint32_t BATCH[] = {60, 2, 61, 62};
    struct setup s;
    setup_open(&s, SOCK_SEQPACKET, RECEIVE, MERGEABLE);
    for (uint16_t i = 0; i < QUEUE_SIZE; i++)
        buffer_offer(&s, i, BUFFER_BYTES);
    frames_send_at_once(&s, BATCH, 4);
    frame_expect(&s, 0, 60, 0);
    frame_expect(&s, 1, 61, 2);
    frame_expect(&s, 2, 62, 3);
    setup_close(&s);
}

/* Those that were read ahead wait for the driver's buffers as the first one does. */
static void large_frame_of_a_batch_waits_for_buffers(void)
{
    static const uint32_t BATCH[] = {60, 5000, 61};
    struct setup s;
    setup_open(&s, SOCK_SEQPACKET, RECEIVE, MERGEABLE);
    for (uint16_t i = 0; i < 3; i++)
        buffer_offer(&s, i, BUFFER_BYTES);
    frames_send_at_once(&s, BATCH, 3);
    frame_expect(&s, 0, 60, 0);
    /* The large one is dropped in the end; there is room for the last one. */
    CHECK(counter_await(&s.net.received.dropped, 1));
    frame_expect(&s, 1, 61, 2);
    CHECK(device_stop(&s.device));
    CHECK(s.device.driver.used->idx == 2);
    start(&s);
    packet_send(&s, 62, 3);
    frame_expect(&s, 2, 62, 3);
    setup_close(&s);
}

/* The port has no more when the time is over, and is watched again. */
static void frames_arrive_after_one_that_waited_in_vain(void)
{
    static const uint32_t BATCH[] = {60, 5000};
    struct setup s;
    setup_open(&s, SOCK_SEQPACKET, RECEIVE, MERGEABLE);
    for (uint16_t i = 0; i < 3; i++)
        buffer_offer(&s, i, BUFFER_BYTES);
    frames_send_at_once(&s, BATCH, 2);
    frame_expect(&s, 0, 60, 0);
    CHECK(counter_await(&s.net.received.dropped, 1));
    packet_send(&s, 61, 2);
    frame_expect(&s, 1, 61, 2);
    setup_close(&s);
}

/* Each frame would wake the worker in vain. */
static void worker_sleeps_while_there_are_no_buffers(void)
{
    struct setup s;
    setup_open(&s, SOCK_SEQPACKET, RECEIVE, MERGEABLE);
    packet_send(&s, 60, 0);
    /* From then on only a kick wakes it. */
    while (__atomic_load_n(&s.net.watched, __ATOMIC_RELAXED) & EPOLLIN)
        sched_yield();
    uint64_t sleeps = counter_read(&s.device.worker.statistics.sleeps);
    for (uint8_t i = 1; i < 8; i++)
        packet_send(&s, 60u + i, i);
    CHECK(counter_read(&s.device.worker.statistics.sleeps) <= sleeps + 1);
    for (uint16_t i = 0; i < 8; i++)
        buffer_offer(&s, i, BUFFER_BYTES);
    for (uint16_t i = 0; i < 8; i++)
        frame_expect(&s, i, 60u + i, (uint8_t)i);
    setup_close(&s);
}

static void link_goes_down_while_there_are_no_buffers(void)
{
    struct setup s;
    setup_open(&s, SOCK_SEQPACKET, RECEIVE, MERGEABLE);
    while (__atomic_load_n(&s.net.watched, __ATOMIC_RELAXED) & EPOLLIN)
        sched_yield();
    net_port_set_link(s.port, false);
    buffer_offer(&s, 0, BUFFER_BYTES);
    while (!(__atomic_load_n(&s.net.watched, __ATOMIC_RELAXED) & EPOLLIN))
        sched_yield();
    packet_send(&s, 60, 1);
    CHECK(counter_await(&s.net.received.dropped, 1));
    setup_close(&s);
}

/* Frames that follow closely on others do not wake the worker, each in turn. */
static void frames_gather(void)
{
    struct setup s;
    setup_open(&s, SOCK_SEQPACKET, RECEIVE, MERGEABLE);
    for (uint16_t i = 0; i < QUEUE_SIZE; i++)
        buffer_offer(&s, i, BUFFER_BYTES);
    for (unsigned i = 0; counter_read(&s.device.worker.statistics.gathers) == 0; i++) {
        uint16_t head = i % QUEUE_SIZE;
        packet_send(&s, 60, (uint8_t)i);
        frame_expect(&s, head, 60, (uint8_t)i);
        buffer_offer(&s, head, BUFFER_BYTES);
    }
    setup_close(&s);
}

static void frames_in_pieces_are_put_together(void)
{
    struct setup s;
    static const uint8_t PIECES[][20] = {{0}, {0, 0, 20}, {'a', 'b'}, {'c'}};
    static const size_t LENGTHS[] = {1, 3, 2, 18};
    setup_open(&s, SOCK_STREAM, RECEIVE, MERGEABLE);
    buffer_offer(&s, 0, BUFFER_BYTES);
    for (unsigned i = 0; i < 4; i++) {
        CHECK(write(s.peer, PIECES[i], LENGTHS[i]) == (ssize_t)LENGTHS[i]);
        sched_yield();
    }
    CHECK(await_used(&s).len == NET_HEADER_BYTES + 20);
    CHECK(memcmp(at(&s, BUFFER_GPA(0)) + NET_HEADER_BYTES, "abc", 4) == 0);
    setup_close(&s);
}

static void nonsense_is_reported_and_ends_the_port(uint32_t length)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, RECEIVE, MERGEABLE);
    buffer_offer(&s, 0, BUFFER_BYTES);
    uint32_t prefix = htonl(length);
    CHECK(write(s.peer, &prefix, sizeof prefix) == sizeof prefix);
    CHECK(event_wait(s.failed, AWAIT_MS));
    CHECK(s.port->failure == -EPROTO);
    setup_close(&s);
}

static void peer_that_is_gone_is_reported(void)
{
    struct setup s;
    setup_open(&s, SOCK_STREAM, RECEIVE, MERGEABLE);
    buffer_offer(&s, 0, BUFFER_BYTES);
    peer_send(&s, 60, 1);
    shutdown(s.peer, SHUT_WR);
    frame_expect(&s, 0, 60, 1);
    CHECK(event_wait(s.failed, AWAIT_MS));
    CHECK(s.port->failure == -EPIPE);
    setup_close(&s);
}

/* The host's sender may need the core. A driver that answers from time to time is polled for. */
static void worker_does_not_poll_for_a_driver_that_only_receives(int type)
{
    struct setup s;
    setup_open(&s, type, RECEIVE, MERGEABLE);
    CHECK(!s.net.handler.waits(&s.net.handler));
    for (uint16_t i = 0; i < QUEUE_SIZE; i++) {
        buffer_offer(&s, i, BUFFER_BYTES);
        frame_send(&s, type, 100, (uint8_t)i);
        frame_expect(&s, i, 100, (uint8_t)i);
    }
    /* It sleeps, and has not polled, after each further frame. */
    CHECK(s.net.handler.waits(&s.net.handler));
    uint64_t polls = counter_read(&s.device.worker.statistics.poll_hits);
    for (uint16_t i = 0; i < QUEUE_SIZE; i++) {
        uint64_t sleeps = counter_read(&s.device.worker.statistics.sleeps);
        buffer_offer(&s, i, BUFFER_BYTES);
        frame_send(&s, type, 100, (uint8_t)i);
        frame_expect(&s, i, 100, (uint8_t)i);
        while (counter_read(&s.device.worker.statistics.sleeps) == sleeps)
            sched_yield();
    }
    CHECK(counter_read(&s.device.worker.statistics.poll_hits) == polls);
    setup_close(&s);
}

static void both_kinds_of_ports(int type)
{
    worker_does_not_poll_for_a_driver_that_only_receives(type);
    frame_fills_a_buffer(type);
    large_frame_fills_several_buffers(type);
    frame_waits_for_buffers(type);
    frame_without_enough_buffers_is_dropped_in_the_end(type);
    frame_longer_than_one_buffer_is_dropped_without_merging(type);
    buffers_may_be_a_byte_long(type);
    device_readable_buffers_are_left_alone(type);
    stop_gives_buffers_back(type);
    frames_are_dropped_while_the_link_is_down(type);
}

int main(void)
{
    both_kinds_of_ports(SOCK_STREAM);
    both_kinds_of_ports(SOCK_SEQPACKET);
    header_of_the_tap_device_reaches_the_driver();
    frames_of_a_batch_arrive_whole_and_in_order();
    runt_amid_a_batch_is_left_out();
    large_frame_of_a_batch_waits_for_buffers();
    frames_arrive_after_one_that_waited_in_vain();
    worker_sleeps_while_there_are_no_buffers();
    link_goes_down_while_there_are_no_buffers();
    frames_gather();
    frames_in_pieces_are_put_together();
    nonsense_is_reported_and_ends_the_port(0);
    nonsense_is_reported_and_ends_the_port(NET_FRAME_BYTES_MIN - 1);
    nonsense_is_reported_and_ends_the_port(NET_FRAME_BYTES_MAX + 1);
    nonsense_is_reported_and_ends_the_port(UINT32_MAX);
    peer_that_is_gone_is_reported();
    return check_finish();
}
