// Questions by TCP.
#pragma once

#include "name_servers.h"

// Serves the connections of a listening socket, each in a process of its own. 0, or -errno.
int name_streams_open(int listener_fd, const struct name_servers *servers);
