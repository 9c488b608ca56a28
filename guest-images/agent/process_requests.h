// FRAME_SIGNAL and FRAME_RESIZE. They are on the control connection, so that a process that does
// not read its input cannot delay them.
#pragma once

#include "fields.h"
#include "message.h"

int process_signal(struct bytes request, struct message *reply, struct failure *failure);
int process_resize(struct bytes request, struct message *reply, struct failure *failure);
