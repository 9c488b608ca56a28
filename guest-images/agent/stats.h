// FRAME_STATS: counters of the container.
#pragma once

#include "fields.h"
#include "message.h"

int stats_read(struct bytes request, struct message *reply, struct failure *failure);
