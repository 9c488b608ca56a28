// The process that resolves names: questions by UDP, and TCP's connections, which get a process
// each.
#pragma once

#include "name_servers.h"

// `host_fd` is a connection to NAMES_DATAGRAM_PORT.
_Noreturn void names_serve(int datagram_fd, int stream_fd, int host_fd,
                           const struct name_servers *servers);
