// Network devices that come and go while the container runs.
#pragma once

#include "fields.h"
#include "message.h"

// FRAME_ATTACH_INTERFACE: the machine has a new device, which is set up.
int link_attach(struct bytes request, struct message *reply, struct failure *failure);
// FRAME_DETACH_INTERFACE: afterwards nothing of the guest uses the device.
int link_detach(struct bytes request, struct message *reply, struct failure *failure);
