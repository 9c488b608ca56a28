// Processes that the host has started, with their streams.
#pragma once

#include <sys/types.h>

#include "fields.h"
#include "frame_reader.h"
#include "message.h"

// Starts what a FRAME_START asks for, on its connection; answers there, and owns the connection.
void process_start(int connection_fd, const struct frame_reader *request);
// A child has been reaped.
void process_ended(pid_t pid, int status);

// Handlers of the control connection.
int process_signal(struct bytes request, struct message *reply, struct failure *failure);
int process_resize(struct bytes request, struct message *reply, struct failure *failure);
