// Unix sockets in the container whose clients are connected to the host.
#pragma once

#include <stdint.h>

// Listens on a descriptor of a unix stream socket; each client gets a connection to the host's
// port. Owns the descriptor. 0, or -errno.
int relay_listen(int listener_fd, uint32_t port);
