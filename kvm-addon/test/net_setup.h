/* One queue of a network device with a fake driver, and the other end of its link. */
#ifndef TSVM_TEST_NET_SETUP_H
#define TSVM_TEST_NET_SETUP_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "../src/backend/net_frame.h"
#include "../src/virtio/net.h"
#include "check.h"
#include "device_setup.h"

#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT
#define FEATURE(bit) (1u << (bit))
#define QUEUE_SIZE 16
#define RECEIVE 0
#define TRANSMIT 1
#define AWAIT_MS 60000

struct setup {
    struct device_setup device;
    struct net net;
    struct net_port *port;
    struct net_port_ops ops;     /* the port's, with a start that needs no tap device */
    struct rate_limiter limiter; /* of both directions; without limits */
    int fd;
    int peer; /* the other end of the link */
    int failed;
};

static int start_anything(struct net_port *port, uint32_t features)
{
    (void)port;
    (void)features;
    return 0;
}

static inline void start(struct setup *s)
{
    CHECK(device_start(&s->device, &s->net.handler, NULL) == 0);
}

/* `type`: SOCK_STREAM for a stream port, SOCK_SEQPACKET for one that reads as a tap device does. */
static inline void setup_open(struct setup *s, int type, uint16_t queue, uint32_t features)
{
    int ends[2];
    if (socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends) < 0)
        exit(2);
    device_init(&s->device, QUEUE_SIZE);
    s->device.driver.config.index = queue;
    s->fd = ends[0];
    s->peer = ends[1];
    s->failed = eventfd(0, EFD_NONBLOCK);
    const struct wake wake = {.notify = device_ended, .context = &s->failed};
    s->port = type == SOCK_STREAM ? stream_port_create(s->fd, wake) : tap_port_create(s->fd, wake);
    s->ops = *s->port->ops;
    s->ops.start = start_anything;
    s->port->ops = &s->ops;
    rate_limiter_init(&s->limiter);
    net_init(&s->net, s->port, &s->limiter, &s->limiter);
    s->net.features = features;
    start(s);
}

static inline void setup_close(struct setup *s)
{
    CHECK(device_stop(&s->device));
    net_port_free(s->port);
    rate_limiter_destroy(&s->limiter);
    device_free(&s->device);
    close(s->fd);
    close(s->peer);
    close(s->failed);
}

/* Reads `bytes` from the other end; false if they do not come. */
static inline bool peer_read(struct setup *s, void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        struct pollfd poll_fd = {.fd = s->peer, .events = POLLIN};
        if (poll(&poll_fd, 1, AWAIT_MS) != 1)
            return false;
        ssize_t got = read(s->peer, (uint8_t *)data + done, bytes - done);
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

/* Whether nothing more comes before the worker has done what it was told. */
static inline bool peer_is_silent(const struct setup *s)
{
    struct pollfd poll_fd = {.fd = s->peer, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 0;
}

/* Sends a frame of `bytes` bytes to the stream port, which are `first`, `first` + 1, ... */
static inline void peer_send(struct setup *s, uint32_t bytes, uint8_t first)
{
    static uint8_t message[4 + NET_FRAME_BYTES_MAX];
    uint32_t prefix = htonl(bytes);
    memcpy(message, &prefix, sizeof prefix);
    for (uint32_t i = 0; i < bytes; i++)
        message[4 + i] = (uint8_t)(first + i);
    for (size_t done = 0; done < 4 + bytes;) {
        ssize_t sent = write(s->peer, message + done, 4 + bytes - done);
        done += sent > 0 ? (size_t)sent : 0;
        if (sent < 0 && errno != EAGAIN)
            exit(2);
        sched_yield();
    }
}

/* The byte at `offset` of what peer_send() sent. */
static inline bool bytes_are(const uint8_t *data, uint32_t bytes, uint8_t first)
{
    for (uint32_t i = 0; i < bytes; i++) {
        if (data[i] != (uint8_t)(first + i))
            return false;
    }
    return true;
}

static inline uint8_t *at(struct setup *s, uint64_t gpa)
{
    return driver_at(&s->device.driver, gpa);
}

static inline void describe(struct setup *s, uint16_t index, uint64_t gpa, uint32_t length,
                            uint16_t flags, uint16_t next)
{
    driver_describe(&s->device.driver, index, gpa, length, flags, next);
}

static inline void offer(struct setup *s, uint16_t head)
{
    device_offer(&s->device, head);
}

static inline struct vring_used_elem await_used(struct setup *s)
{
    return device_await_used(&s->device);
}

/* Waits until a counter has this value. */
static inline bool counter_await(const counter *value, uint64_t wanted)
{
    time_t end = time(NULL) + AWAIT_MS / 1000;
    while (counter_read(value) != wanted && time(NULL) < end)
        sched_yield();
    return counter_read(value) == wanted;
}

#endif
