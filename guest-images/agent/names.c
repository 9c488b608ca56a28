#include "names.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "dns_message.h"
#include "helper.h"
#include "name_datagrams.h"
#include "port_redirect.h"
#include "protocol.h"
#include "vsock.h"

#define RESOLVER_ADDRESS 0x7f00000bu // 127.0.0.11
#define BACKLOG 32
#define REHEARSED_PORT 1024

// A socket of the resolver, at any port if `port` is 0. -errno.
static int open_socket(int type, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(*port),
                                  .sin_addr.s_addr = htonl(RESOLVER_ADDRESS)};
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &(socklen_t){sizeof address}) < 0 ||
        (type == SOCK_STREAM && listen(fd, BACKLOG) < 0)) {
        int error = -errno;
        close(fd);
        return error;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

struct sockets {
    int datagrams, streams;
};

static int open_sockets(struct sockets *sockets, uint16_t *datagram_port, uint16_t *stream_port)
{
    sockets->datagrams = open_socket(SOCK_DGRAM, datagram_port);
    if (sockets->datagrams < 0)
        return sockets->datagrams;
    sockets->streams = open_socket(SOCK_STREAM, stream_port);
    if (sockets->streams < 0)
        close(sockets->datagrams);
    return sockets->streams < 0 ? sockets->streams : 0;
}

static void close_sockets(const struct sockets *sockets)
{
    close(sockets->datagrams);
    close(sockets->streams);
}

// Port 53 is a name server's of the container, which may want it on all addresses. Where the kernel
// has no nftables, it is the resolver's.
static int open_resolver(struct sockets *sockets)
{
    uint16_t datagram_port = 0, stream_port = 0;
    int result = open_sockets(sockets, &datagram_port, &stream_port);
    if (result < 0 ||
        port_redirect(htonl(RESOLVER_ADDRESS), DNS_PORT, datagram_port, stream_port) == 0)
        return result;
    close_sockets(sockets);
    datagram_port = stream_port = DNS_PORT;
    return open_sockets(sockets, &datagram_port, &stream_port);
}

int names_rehearse(void)
{
    return port_redirect(htonl(RESOLVER_ADDRESS), DNS_PORT, REHEARSED_PORT, REHEARSED_PORT);
}

int names_start(const struct name_servers *servers, struct failure *failure)
{
    static bool is_running;
    struct sockets sockets;
    if (is_running)
        return 0;
    int host_fd = vsock_dial(NAMES_DATAGRAM_PORT);
    int result = host_fd < 0 ? host_fd : open_resolver(&sockets);
    if (result == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            helper_begin((int[]){sockets.datagrams, sockets.streams, host_fd}, 3);
            names_serve(HELPER_FD, HELPER_FD + 1, HELPER_FD + 2, servers);
        }
        result = pid < 0 ? -errno : 0;
        is_running = pid > 0;
        close_sockets(&sockets);
    }
    if (host_fd >= 0)
        close(host_fd);
    errno = -result;
    return result == 0 ? 0 : fail_call(failure, "cannot start the resolver of names");
}
