#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "vsock.h"

#define BUFFER_BYTES (256u << 10)
// Reads of one connection in a row, after which others have their turn.
#define READS_MAX 8

struct listener {
    struct watch watch; // first
    uint32_t port;
};

// One end of a relay.
struct end {
    struct watch watch; // first
    struct relay *relay;
    struct end *other;
    bool input_ended;  // nothing more comes from it
    bool output_ended; // it has been told that nothing more comes
    // What has been read from it and the other end has not taken yet.
    uint8_t *rest;
    size_t rest_length, rest_sent;
};

struct relay {
    struct end client;
    struct end host;
};

// An idle connection needs no buffer.
static uint8_t buffer[BUFFER_BYTES];

static void relay_free(struct relay *relay)
{
    loop_close(&relay->client.watch);
    loop_close(&relay->host.watch);
    free(relay->client.rest);
    free(relay->host.rest);
    free(relay);
}

// How many bytes the socket takes now, or -1 if the connection is broken.
static ssize_t send_some(int fd, const uint8_t *data, size_t length)
{
    size_t sent = 0;
    while (sent < length) {
        ssize_t count = send(fd, data + sent, length - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno != EAGAIN)
            return -1;
        if (count < 0)
            break;
        sent += (size_t)count;
    }
    return (ssize_t)sent;
}

// False if the connection is broken.
static bool send_rest(struct end *from)
{
    ssize_t sent = send_some(from->other->watch.fd, from->rest + from->rest_sent,
                             from->rest_length - from->rest_sent);
    if (sent < 0)
        return false;
    from->rest_sent += (size_t)sent;
    if (from->rest_sent == from->rest_length) {
        free(from->rest);
        from->rest = NULL;
        from->rest_length = from->rest_sent = 0;
    }
    return true;
}

static bool keep_rest(struct end *from, const uint8_t *data, size_t length)
{
    from->rest = malloc(length);
    if (from->rest == NULL)
        return false;
    memcpy(from->rest, data, length);
    from->rest_length = length;
    return true;
}

static bool end_output(struct end *to)
{
    if (!to->output_ended)
        shutdown(to->watch.fd, SHUT_WR);
    to->output_ended = true;
    return true;
}

// Moves what comes from one end to the other. False if the connection is broken.
static bool move(struct end *from)
{
    if (from->rest != NULL && !send_rest(from))
        return false;
    for (int i = 0; i < READS_MAX && from->rest == NULL; i++) {
        if (from->input_ended)
            return end_output(from->other);
        ssize_t count = recv(from->watch.fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (count < 0)
            return errno == EAGAIN || errno == EINTR;
        from->input_ended = count == 0;
        ssize_t sent = send_some(from->other->watch.fd, buffer, (size_t)count);
        if (sent < 0 || (sent < count && !keep_rest(from, buffer + sent, (size_t)(count - sent))))
            return false;
    }
    return true;
}

static void watch_end(struct end *end)
{
    bool can_read = !end->input_ended && end->rest == NULL;
    bool must_write = end->other->rest != NULL;
    loop_change(&end->watch, (can_read ? EPOLLIN : 0) | (must_write ? EPOLLOUT : 0));
}

static void end_ready(struct watch *watch, uint32_t events)
{
    struct relay *relay = ((struct end *)watch)->relay;
    (void)events;
    bool is_sound = move(&relay->client) && move(&relay->host);
    if (!is_sound || (relay->client.output_ended && relay->host.output_ended)) {
        relay_free(relay);
        return;
    }
    watch_end(&relay->client);
    watch_end(&relay->host);
}

static void open_end(struct end *end, struct end *other, struct relay *relay, int fd)
{
    end->watch = (struct watch){.fd = fd, .ready = end_ready};
    end->relay = relay;
    end->other = other;
    loop_add(&end->watch, EPOLLIN);
}

void relay_join(int client_fd, int host_fd)
{
    struct relay *relay = calloc(1, sizeof *relay);
    if (relay == NULL) {
        close(client_fd);
        close(host_fd);
        return;
    }
    open_end(&relay->client, &relay->host, relay, client_fd);
    open_end(&relay->host, &relay->client, relay, host_fd);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    const struct listener *listener = (const struct listener *)watch;
    int client_fd;
    (void)events;
    while ((client_fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int host_fd = vsock_dial(listener->port);
        if (host_fd < 0)
            close(client_fd);
        else
            relay_join(client_fd, host_fd);
    }
}

int relay_listen(int listener_fd, uint32_t port)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return -ENOMEM;
    *listener =
        (struct listener){.watch = {.fd = listener_fd, .ready = listener_ready}, .port = port};
    return loop_add(&listener->watch, EPOLLIN);
}
