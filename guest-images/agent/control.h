// The control connection: short requests, answered in order, and events.
#pragma once

#include "message.h"

// Dials the host and says hello. 0, or -errno.
int control_open(void);
// Sends a frame after those before it.
void control_send(const struct message *message);
