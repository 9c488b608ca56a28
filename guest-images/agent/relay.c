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

#define BUFFER_BYTES 65536

struct listener {
    struct watch watch; // first
    uint32_t port;
};

// One end of a relay, with what has been read from it.
struct end {
    struct watch watch; // first
    struct relay *relay;
    struct end *other;
    bool input_ended;    // nothing more comes from it
    bool output_ended;   // it has been told that nothing more comes
    size_t length, sent; // of `data`, how much the other end has been given
    uint8_t data[BUFFER_BYTES];
};

struct relay {
    struct end client;
    struct end host;
};

static void relay_free(struct relay *relay)
{
    loop_close(&relay->client.watch);
    loop_close(&relay->host.watch);
    free(relay);
}

// Moves what comes from one end to the other. False if the connection is broken.
static bool move(struct end *from)
{
    struct end *to = from->other;
    for (;;) {
        while (from->sent < from->length) {
            ssize_t count = send(to->watch.fd, from->data + from->sent, from->length - from->sent,
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
            if (count < 0)
                return errno == EAGAIN || errno == EINTR;
            from->sent += (size_t)count;
        }
        if (from->input_ended)
            break;
        ssize_t count = recv(from->watch.fd, from->data, BUFFER_BYTES, MSG_DONTWAIT);
        if (count < 0)
            return errno == EAGAIN || errno == EINTR;
        from->length = (size_t)count;
        from->sent = 0;
        from->input_ended = count == 0;
    }
    if (!to->output_ended)
        shutdown(to->watch.fd, SHUT_WR);
    to->output_ended = true;
    return true;
}

static void watch_end(struct end *end)
{
    bool can_read = !end->input_ended && end->sent == end->length;
    bool must_write = end->other->sent < end->other->length;
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

static void listener_ready(struct watch *watch, uint32_t events)
{
    const struct listener *listener = (const struct listener *)watch;
    int client_fd;
    (void)events;
    while ((client_fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct relay *relay = calloc(1, sizeof *relay);
        int host_fd = relay == NULL ? -1 : vsock_dial(listener->port);
        if (host_fd < 0) {
            close(client_fd);
            free(relay);
            continue;
        }
        open_end(&relay->client, &relay->host, relay, client_fd);
        open_end(&relay->host, &relay->client, relay, host_fd);
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
