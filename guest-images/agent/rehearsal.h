// A container that does nothing, before the machine is saved. The kernel has then prepared what
// every container needs of it: memory for its objects, tables that grow with the number of mounts.
// If the writable disk is there, it is mounted for good, and the kernel knows what is on it.
#pragma once

#include "fields.h"
#include "message.h"

// The argument of a rehearsal's program, which is the agent's.
#define REHEARSAL "--rehearsal"

// FRAME_PREPARE: also waits for the processors.
int rehearsal_run(struct bytes request, struct message *reply, struct failure *failure);
