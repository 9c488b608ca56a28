// FRAME_PROCESSES: the container's processes, a frame of data for each.
#pragma once

#include "fields.h"
#include "message.h"

int process_list(int fd, struct bytes request, struct message *reply, struct failure *failure);
