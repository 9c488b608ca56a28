// What is mounted into the container's root: the user's mounts and the files of its network.
#pragma once

#include "root_spec.h"

int mounts_apply(const struct root_spec *spec, struct failure *failure);
