// The container's control group (version 2), and its limits.
#pragma once

#include "fields.h"
#include "message.h"

// 0 in each, and "": no limit.
struct limits {
    uint64_t memory_bytes;
    uint64_t cpu_micros;
    uint64_t cpu_weight;
    uint64_t pids;
    const char *cpuset;
};

int limits_parse(struct bytes fields, struct limits *limits, struct failure *failure);

// Makes the group, with all controllers that the kernel has. 0, or -errno.
int cgroup_open(void);
// FRAME_LIMITS
int cgroup_change_limits(struct bytes request, struct message *reply, struct failure *failure);
// FRAME_FREEZE, FRAME_THAW. A frozen process finishes its system call first; a process that is in
// an uninterruptible one is not waited for.
int cgroup_freeze(struct bytes request, struct message *reply, struct failure *failure);
int cgroup_thaw(struct bytes request, struct message *reply, struct failure *failure);
int cgroup_set_limits(const struct limits *limits, struct failure *failure);
