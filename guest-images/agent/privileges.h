// What a process may do: user, groups, capabilities, no_new_privs, system calls.
#pragma once

#include "identity.h"
#include "process_spec.h"

int privileges_apply(const struct process_spec *spec, const struct identity *identity,
                     struct failure *failure);
