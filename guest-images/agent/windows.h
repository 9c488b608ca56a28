// Windows for virtio-mmio devices, which may get one while the machine runs.
#pragma once

#include "failure.h"

// Has the kernel look again at those that were empty. 0, or -1 with the failure.
int windows_bind(struct failure *failure);
// Takes the driver from the device of a network interface.
int windows_unbind(const char *interface, struct failure *failure);
