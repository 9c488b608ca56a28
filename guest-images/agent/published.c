#include "published.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "loop.h"
#include "own_addresses.h"
#include "protocol.h"
#include "relay.h"
#include "root_spec.h"
#include "vsock.h"

struct listener {
    struct watch watch; // first
    uint16_t port;
};

// A client of the host that has no server yet.
struct attempt {
    struct watch server; // first: the socket that is being connected
    int host_fd;
    uint16_t port;
    struct own_addresses addresses;
    size_t next;
    bool has_ipv6; // `addresses` are those of IPv6, the second ones
};

static void attempt_succeed(struct attempt *attempt)
{
    int server_fd = attempt->server.fd;
    loop_change(&attempt->server, 0);
    setsockopt(server_fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    relay_join(server_fd, attempt->host_fd);
    free(attempt);
}

static const struct own_address *next_address(struct attempt *attempt)
{
    if (attempt->next == attempt->addresses.count && !attempt->has_ipv6) {
        own_addresses_ipv6(&attempt->addresses, attempt->port);
        attempt->has_ipv6 = true;
        attempt->next = 0;
    }
    if (attempt->next == attempt->addresses.count)
        return NULL;
    return &attempt->addresses.list[attempt->next++];
}

static void server_ready(struct watch *watch, uint32_t events);

static void attempt_connect(struct attempt *attempt)
{
    const struct own_address *address;
    while ((address = next_address(attempt)) != NULL) {
        int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        int result = connect(fd, &address->any, address->length);
        if (result < 0 && errno != EINPROGRESS) {
            close(fd);
            continue;
        }
        attempt->server = (struct watch){.fd = fd, .ready = server_ready};
        if (result == 0)
            attempt_succeed(attempt);
        else
            loop_add(&attempt->server, EPOLLOUT);
        return;
    }
    close(attempt->host_fd);
    free(attempt);
}

static void server_ready(struct watch *watch, uint32_t events)
{
    struct attempt *attempt = (struct attempt *)watch;
    int error = 0;
    (void)events;
    getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error == 0) {
        attempt_succeed(attempt);
        return;
    }
    loop_close(watch);
    attempt_connect(attempt);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    const struct listener *listener = (const struct listener *)watch;
    int fd;
    (void)events;
    while ((fd = vsock_accept(watch->fd)) != -EAGAIN) {
        if (fd < 0)
            break;
        struct attempt *attempt = calloc(1, sizeof *attempt);
        if (attempt == NULL) {
            close(fd);
            continue;
        }
        attempt->host_fd = fd;
        attempt->port = listener->port;
        own_addresses_ipv4(&attempt->addresses, listener->port);
        attempt_connect(attempt);
    }
}

static int open_port(uint16_t port)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return -ENOMEM;
    int fd = vsock_listen(PUBLISHED_PORT_BASE + port);
    if (fd < 0) {
        free(listener);
        return fd;
    }
    *listener = (struct listener){.watch = {.fd = fd, .ready = listener_ready}, .port = port};
    return loop_add(&listener->watch, EPOLLIN);
}

int published_open(const uint8_t *ports, struct failure *failure)
{
    for (unsigned port = 1; port <= PUBLISHED_PORTS_MAX; port++) {
        if (!(ports[port / 8] & 1 << port % 8))
            continue;
        int result = open_port((uint16_t)port);
        if (result < 0) {
            errno = -result;
            return fail_call(failure, "cannot publish port %u", port);
        }
    }
    return 0;
}
