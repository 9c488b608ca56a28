// The orderly end of the machine.
#pragma once

#include "fields.h"
#include "message.h"

// FRAME_SHUTDOWN: ends all processes, writes everything back and unmounts.
int shutdown_prepare(struct bytes request, struct message *reply, struct failure *failure);
_Noreturn void shutdown_machine(void);
