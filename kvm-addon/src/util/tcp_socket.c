#include "tcp_socket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel limits it to net.core.somaxconn. */
#define BACKLOG 4096

static void option_set(int fd, int level, int option)
{
    setsockopt(fd, level, option, &(int){1}, sizeof(int));
}

static int address_listen(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    option_set(fd, SOL_SOCKET, SO_REUSEADDR);
    if (info->ai_family == AF_INET6)
        option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    /* Accepted sockets inherit these. */
    option_set(fd, IPPROTO_TCP, TCP_NODELAY);
    option_set(fd, SOL_SOCKET, SO_KEEPALIVE);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

int tcp_socket_listen(const char *address, uint16_t port)
{
    struct addrinfo *info,
        hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    char service[sizeof "65535"];

    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(address, service, &hints, &info) != 0)
        return -EINVAL;
    int fd = address_listen(info);
    freeaddrinfo(info);
    return fd;
}
