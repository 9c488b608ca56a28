// Which system calls a process may use: by Docker's default profile, or by a program of the host.
#pragma once

#include <stdint.h>

#include "fields.h"

// Takes memory for compiled profiles, which the kernel would otherwise fill for the first process
// and free with it: 2 MiB. 0, or -errno.
int seccomp_prepare(void);

// Some calls are allowed by capabilities only.
int seccomp_apply(uint64_t capabilities, struct failure *failure);
// An array of struct sock_filter.
int seccomp_apply_filter(struct bytes filter, struct failure *failure);
