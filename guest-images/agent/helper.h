// Processes that the agent starts for streams of the container, so that they delay nothing else of
// its own.
#pragma once

#include <stddef.h>

// The first of the descriptors that such a process keeps; the others follow it.
#define HELPER_FD 3

// In a new process: keeps these descriptors and the standard streams alone, since the ends of
// connections are others' to see. Like the agent itself, which the kernel spares, no process of the
// container's that needs too much memory takes it along.
void helper_begin(const int *fds, size_t count);
