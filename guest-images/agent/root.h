// FRAME_ASSEMBLE: the container's root, up to what belongs to its namespaces.
#pragma once

#include "fields.h"
#include "message.h"

// Mounts a root with nothing but this program, in a mount namespace that is thrown away.
int root_rehearse(const char *program, struct failure *failure);

int root_assemble(struct bytes request, struct message *reply, struct failure *failure);
