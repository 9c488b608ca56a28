// The one container of this machine.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "fields.h"

// Where the agent has the container's root mounted.
#define CONTAINER_ROOT "/root"

struct container {
    bool assembled;
    bool read_only;
    bool privileged;
    bool has_init;
    char hostname[65];
    char domainname[65];
    struct text_list sysctls;
    // Its first process, 0 before the start; it is not in its own namespace's PID.
    pid_t init;
    bool ended;
    // Of the first process, while it is not reaped: -1 otherwise.
    int init_fd;
    int pid_namespace_fd;
    int own_pid_namespace_fd;
    // A control group for all processes of the container.
    int cgroup_fd;
};

extern struct container container;
