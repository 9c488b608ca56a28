// FRAME_CLOCK: sets the clock, which stands still while the machine is paused.
#pragma once

#include "fields.h"
#include "message.h"

int clock_set(struct bytes request, struct message *reply, struct failure *failure);
