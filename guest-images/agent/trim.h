// FRAME_TRIM: gives back to the host what the guest does not need.
#pragma once

#include "fields.h"
#include "message.h"

int trim(int fd, struct bytes request, struct message *reply, struct failure *failure);
