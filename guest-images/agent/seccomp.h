// The profile of system calls that Docker gives containers by default.
#pragma once

#include <stdint.h>

#include "failure.h"

// Some calls are allowed by capabilities only.
int seccomp_apply(uint64_t capabilities, struct failure *failure);
