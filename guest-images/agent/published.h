// Published TCP ports: the host's clients are connected to servers in the container.
#pragma once

#include <stdint.h>

#include "failure.h"

// Listens for the host's connections to PUBLISHED_PORT_BASE + N for each port N whose bit is set. A
// client reaches a server that listens on any of the container's addresses, its loopback addresses
// included; the server sees one of the container's own addresses as the client's. If nobody
// listens, the connection is closed without a shutdown.
int published_open(const uint8_t *ports, struct failure *failure);
