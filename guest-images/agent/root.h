// FRAME_ASSEMBLE: the container's root, up to what belongs to its namespaces.
#pragma once

#include "fields.h"
#include "message.h"

int root_assemble(struct bytes request, struct message *reply, struct failure *failure);
