// FRAME_ASSEMBLE: the container's root, up to what belongs to its namespaces.
#pragma once

#include "fields.h"
#include "message.h"

// Mounts the writable disk if there is one already, rather than what keeps its place.
int root_mount_writable(struct failure *failure);

// What the rehearsal has left on the writable disk is removed.
void root_forget_rehearsal(void);

// Mounts a root with nothing but this program, in a mount namespace that is thrown away.
int root_rehearse(const char *program, struct failure *failure);

int root_assemble(struct bytes request, struct message *reply, struct failure *failure);
