/*
 * The data plane of virtio-net against a hostile driver: what is sent and where is received lies in
 * guest memory, frames have the lengths that they claim, and no chain is lost or returned twice.
 *
 * An input begins with chains that are right; its steps then break them.
 */
#include <errno.h>

#include "../../src/backend/net_frame.h"
#include "../../src/util/iov.h"
#include "../../src/virtio/net_header.h"
#include "../../src/virtio/net_receiver.h"
#include "../../src/virtio/net_transmitter.h"
#include "hostile_driver.h"

#define STEPS_MAX 500u

/* The host's end of the link, controlled by the input. */
struct fuzz_port {
    struct net_port port;
    struct fuzz_input *input;
    struct net_receiver *receiver;
    uint32_t features;
    bool tells_length; /* for a stream, but not for a tap device */
    uint32_t next;     /* bytes of the next frame; 0: there is none */
};

static struct fuzz_port *fuzz_port_of(struct net_port *port)
{
    return (struct fuzz_port *)port;
}

static int fuzz_peek(struct net_port *port)
{
    const struct fuzz_port *fuzz = fuzz_port_of(port);
    if (!fuzz->tells_length)
        return 0;
    return fuzz->next > 0 ? (int)fuzz->next : -EAGAIN;
}

static ssize_t fuzz_receive(struct net_port *port, const struct iovec *iov, unsigned count)
{
    static const uint8_t FRAME[NET_HEADER_BYTES + NET_FRAME_BYTES_MAX] = {0};
    struct fuzz_port *fuzz = fuzz_port_of(port);
    const struct iov_span span = {.iov = (struct iovec *)iov, .count = count};
    REQUIRE(count <= 1024);
    for (unsigned i = 0; i < count; i++)
        REQUIRE(iov[i].iov_base == fuzz->receiver->spill || driver_owns(&iov[i]));
    if (fuzz->next == 0)
        return -EAGAIN;
    size_t got = iov_copy_to(&span, FRAME, NET_HEADER_BYTES + fuzz->next);
    fuzz->next = 0;
    return (ssize_t)got;
}

/* As often as the input wants, a read finds nothing, or the last ones are not tried. */
static unsigned fuzz_receive_batch(struct net_port *port, struct net_read *reads, unsigned count)
{
    static const uint8_t FRAME[NET_HEADER_BYTES + NET_FRAME_BYTES_MAX] = {0};
    struct fuzz_port *fuzz = fuzz_port_of(port);
    unsigned tried = input_u8(fuzz->input) % (count + 1);
    REQUIRE(count <= NET_READS_MAX);
    for (unsigned i = 0; i < tried; i++) {
        const struct iov_span span = {.iov = (struct iovec *)reads[i].iov, .count = reads[i].count};
        for (unsigned j = 0; j + 1 < span.count; j++)
            REQUIRE(driver_owns(&span.iov[j]));
        REQUIRE(iov_span_bytes(&span) >= sizeof FRAME);
        uint16_t size = input_u16(fuzz->input);
        uint32_t bytes = size & 1 ? size : size & 2 ? size % 2048 : 0;
        reads[i].result = bytes == 0 ? -EAGAIN : (ssize_t)iov_copy_to(&span, FRAME, bytes);
    }
    return tried;
}

static void fuzz_skip(struct net_port *port)
{
    fuzz_port_of(port)->next = 0;
}

static void check_frame(const struct fuzz_port *fuzz, const struct net_frame *frame)
{
    struct virtio_net_hdr_v1 again = frame->header;
    uint64_t bytes = 0;
    REQUIRE(frame->bytes >= NET_FRAME_BYTES_MIN && frame->bytes <= NET_FRAME_BYTES_MAX);
    REQUIRE(frame->count <= NET_FRAME_IOVS_MAX);
    for (unsigned i = 0; i < frame->count; i++) {
        REQUIRE(driver_owns(&frame->iov[i]));
        bytes += frame->iov[i].iov_len;
    }
    REQUIRE(bytes == frame->bytes);
    /* A checked header must pass the check again. */
    REQUIRE(net_header_check(&again, frame->bytes, fuzz->features));
    REQUIRE(memcmp(&again, &frame->header, sizeof again) == 0);
}

static int fuzz_send(struct net_port *port, struct net_frame *frames, unsigned count)
{
    struct fuzz_port *fuzz = fuzz_port_of(port);
    uint8_t kind = input_u8(fuzz->input);
    for (unsigned i = 0; i < count; i++) {
        check_frame(fuzz, &frames[i]);
        frames[i].iov[-1] = (struct iovec){.iov_base = &frames[i].header};
        frames[i].dropped = kind & 16;
    }
    port->blocked = kind & 1;
    if (kind & 32)
        return -EPIPE;
    return port->blocked && count > 0 ? (int)(kind % count) : (int)count;
}

static const struct net_port_ops OPS = {
    .peek = fuzz_peek,
    .receive = fuzz_receive,
    .receive_batch = fuzz_receive_batch,
    .skip = fuzz_skip,
    .send = fuzz_send,
};

struct device {
    struct virtqueue queue;
    struct fuzz_port port;
    struct net_receiver receiver;
    struct net_transmitter transmitter;
    struct net_receiver_statistics received;
    struct net_transmitter_statistics transmitted;
    bool receives;
};

static struct event_loop *event_loop(void)
{
    static struct event_loop loop;
    if (loop.epoll_fd == 0)
        REQUIRE(event_loop_init(&loop) == 0);
    return &loop;
}

static void device_step(struct device *device, struct hostile_driver *driver,
                        struct fuzz_input *input)
{
    uint8_t kind = input_u8(input);
    switch (kind & 15) {
    case 0:
    case 1:
        if (device->receives)
            net_receiver_serve(&device->receiver, 1 + (kind >> 4));
        else
            net_transmitter_serve(&device->transmitter, &device->queue, 1 + (kind >> 4));
        break;
    case 2:
    case 3:
        device->port.next = NET_FRAME_BYTES_MIN +
                            input_u16(input) % (NET_FRAME_BYTES_MAX - NET_FRAME_BYTES_MIN + 1);
        device->receiver.readable = true;
        break;
    case 4: /* a small one */
        device->port.next = NET_FRAME_BYTES_MIN + kind;
        device->receiver.readable = true;
        break;
    case 5:
        net_port_set_link(&device->port.port, kind & 16);
        break;
    case 6: /* the time for the driver is over */
        if (device->receiver.starved.set)
            device->receiver.starved.expired(&device->receiver.starved);
        break;
    case 7:
        net_receiver_stop(&device->receiver);
        break;
    case 8:
        virtqueue_publish(&device->queue);
        break;
    default:
        driver_step(driver, input);
    }
    REQUIRE(device->queue.in_flight == device->receiver.staged_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {.data = data, .size = size};
    struct device device = {0};
    struct hostile_driver driver;
    uint8_t kind = input_u8(&input);
    uint32_t features = input_u32(&input);
    if (!driver_init(&driver, &device.queue, &input))
        return 0;
    device.receives = kind & 1;
    device.port = (struct fuzz_port){.port = {.ops = &OPS, .fd = -1},
                                     .input = &input,
                                     .receiver = &device.receiver,
                                     .features = features,
                                     .tells_length = kind & 2};
    REQUIRE(net_receiver_init(&device.receiver, &device.port.port, event_loop(), &device.queue,
                              kind & 4, &device.received) == 0);
    REQUIRE(net_transmitter_init(&device.transmitter, &device.port.port, features,
                                 device.queue.size, &device.transmitted) == 0);
    uint16_t flags = device.receives ? VRING_DESC_F_WRITE : 0;
    driver_offer_chains(&driver, NET_HEADER_BYTES, flags, flags);
    for (unsigned step = 0; step < STEPS_MAX && input.size > 0; step++)
        device_step(&device, &driver, &input);
    net_receiver_stop(&device.receiver);
    REQUIRE(device.queue.in_flight == 0);
    net_receiver_free(&device.receiver);
    net_transmitter_free(&device.transmitter);
    return 0;
}
