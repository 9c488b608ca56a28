// Connections to and from the host.
#pragma once

#include <stddef.h>
#include <stdint.h>

// A connection to a port of the host, non-blocking once it is made. -errno if nobody listens.
int vsock_dial(uint32_t port);
int vsock_listen(uint32_t port);
// A connection that is not the host's is refused with -EPERM. -EAGAIN: none.
int vsock_accept(int listener);
// Writes all, waiting for the host if need be. 0, or -errno.
int write_all(int fd, const void *data, size_t length);
