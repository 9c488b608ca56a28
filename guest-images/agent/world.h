// What a process sees of the guest.
#pragma once

#include "failure.h"

// Completes the container's world, from within its namespaces: /proc, masked paths, host name,
// sysctls; then makes the container's root the root. -1: no terminal.
int world_create(int terminal_fd, struct failure *failure);
// The guest's own processes and devices, with the container's files as the root.
int world_of_guest(struct failure *failure);
