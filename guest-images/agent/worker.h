// Requests that take long or read what the container wrote, each in a process of its own.
#pragma once

#include "frame_reader.h"

// Answers a request on its connection, and closes it.
void worker_start(int connection_fd, const struct frame_reader *request);
