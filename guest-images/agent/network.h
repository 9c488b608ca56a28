// The machine's network interfaces.
#pragma once

#include <net/if.h>

#include "fields.h"

#define NETWORK_NAME_BYTES IFNAMSIZ

// Sets up the loopback interface and those of FRAME_ASSEMBLE.
int network_configure(const struct bytes *interfaces, size_t count, struct failure *failure);
// The index of the interface with this address, and its name; 0: none.
unsigned network_find(const uint8_t mac[6], char name[NETWORK_NAME_BYTES]);
