/* Listening TCP sockets. */
#ifndef TSVM_TCP_SOCKET_H
#define TSVM_TCP_SOCKET_H

#include <stdint.h>

/*
 * Listens on a numeric address of IPv4 or IPv6 (that family only), which may have a scope
 * (fe80::1%eth0). Port 0: any free one. Connections in TIME_WAIT do not keep the port. Accepted
 * sockets have TCP_NODELAY and SO_KEEPALIVE.
 *
 * Returns a descriptor with O_CLOEXEC and O_NONBLOCK, -EINVAL (no such address), -EADDRINUSE,
 * -EADDRNOTAVAIL, -EACCES or another -errno.
 */
int tcp_socket_listen(const char *address, uint16_t port);

#endif
