// What is mounted into the container's root: the user's mounts and the files of its network.
#pragma once

#include "root_spec.h"

int mounts_apply(const struct root_spec *spec, struct failure *failure);
// Replaces the content of /etc/resolv.conf.
int mounts_write_resolv_conf(const char *text, struct failure *failure);
