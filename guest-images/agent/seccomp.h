// Which system calls a process may use: by Docker's default profile, or by a program of the host.
#pragma once

#include <stdint.h>

#include "fields.h"

// Some calls are allowed by capabilities only.
int seccomp_apply(uint64_t capabilities, struct failure *failure);
// An array of struct sock_filter.
int seccomp_apply_filter(struct bytes filter, struct failure *failure);
