// What a machine needs that goes on from a saved state, before any program of the container runs:
// others go on from the same one.
#pragma once

#include <stdbool.h>

#include "fields.h"
#include "message.h"

// FRAME_RESTORED: random numbers of its own, and the present time.
int restored_renew(struct bytes request, struct message *reply, struct failure *failure);

// Whether a disk is not only there to keep the place of another: see PLACEHOLDER_BYTES.
bool restored_is_disk(const char *path);

// Waits until a disk is there in the place of one that only keeps it: see PLACEHOLDER_BYTES.
int restored_await_disk(const char *path, struct failure *failure);
