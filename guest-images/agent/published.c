#include "published.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "helper.h"
#include "loop.h"
#include "own_addresses.h"
#include "processors.h"
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

// What the relay's process tells the agent: -errno and the port that it cannot open, or zeroes.
struct outcome {
    int error;
    unsigned port;
};

static struct outcome open_ports(const uint8_t *ports)
{
    for (unsigned port = 1; port <= PUBLISHED_PORTS_MAX; port++) {
        int error = ports[port / 8] & 1 << port % 8 ? open_port((uint16_t)port) : 0;
        if (error < 0)
            return (struct outcome){error, port};
    }
    return (struct outcome){0, 0};
}

static _Noreturn void relay_run(const uint8_t *ports, int outcome_fd)
{
    struct outcome outcome = {.error = loop_open()};
    stay_with_device();
    if (outcome.error == 0)
        outcome = open_ports(ports);
    write_all(outcome_fd, &outcome, sizeof outcome);
    close(outcome_fd);
    while (outcome.error == 0)
        loop_turn();
    _exit(1);
}

static bool has_ports(const uint8_t *ports)
{
    for (unsigned port = 1; port <= PUBLISHED_PORTS_MAX; port++) {
        if (ports[port / 8] & 1 << port % 8)
            return true;
    }
    return false;
}

// In a process of its own: it stays on one processor, and streams delay nothing else of the
// agent's.
int published_open(const uint8_t *ports, struct failure *failure)
{
    int ends[2];
    struct outcome outcome = {.error = -EPIPE};
    if (!has_ports(ports))
        return 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_call(failure, "cannot publish ports");
    pid_t pid = fork();
    if (pid == 0) {
        helper_begin(&ends[1], 1);
        relay_run(ports, HELPER_FD);
    }
    close(ends[1]);
    ssize_t count = pid < 0 ? -1 : read(ends[0], &outcome, sizeof outcome);
    close(ends[0]);
    if (pid > 0 && count == sizeof outcome && outcome.error == 0)
        return 0;
    if (pid > 0)
        errno = -outcome.error;
    return fail_call(failure, "cannot publish port %u", outcome.port);
}
