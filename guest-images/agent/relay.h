// Connections between sockets of the container and the host.
#pragma once

#include <stdint.h>

// Moves data between two stream sockets with O_NONBLOCK until both directions have ended, and owns
// them from now on. The end of one's stream is a shutdown of the other's.
void relay_join(int client_fd, int host_fd);

// Listens on a descriptor of a unix stream socket; each client gets a connection to the host's
// port. Owns the descriptor. 0, or -errno.
int relay_listen(int listener_fd, uint32_t port);
