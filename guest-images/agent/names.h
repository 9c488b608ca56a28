// The container's resolver, at 127.0.0.11: the host is asked about names of containers, other name
// servers about what it refuses.
#pragma once

#include "name_servers.h"

// Starts the resolver. If it runs already, with these servers or others, nothing happens.
int names_start(const struct name_servers *servers, struct failure *failure);

// Sets the resolver's port up once, so that the kernel has what this needs, some of which may be
// modules. In network namespaces that end with the caller. 0, or -errno.
int names_rehearse(void);
