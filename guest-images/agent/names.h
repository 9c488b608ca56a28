// The container's resolver, at 127.0.0.11: the host is asked about names of containers, other name
// servers about what it refuses.
#pragma once

#include "name_servers.h"

// Starts the resolver. If it runs already, with these servers or others, nothing happens.
int names_start(const struct name_servers *servers, struct failure *failure);
