// The machine's network interfaces.
#pragma once

#include "fields.h"

// Sets up the loopback interface and those of FRAME_ASSEMBLE.
int network_configure(const struct bytes *interfaces, size_t count, struct failure *failure);
