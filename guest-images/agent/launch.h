// A new process up to its program: its pipes or terminal, its clone, its exec.
#pragma once

#include <sched.h>
#include <stdint.h>
#include <sys/types.h>

#include "process_spec.h"

// The agent's ends of a new process's streams; -1: none.
struct launched {
    pid_t pid;
    int status_fd; // tells a struct failure if the exec fails, ends when it succeeds
    int input_fd;
    int output_fd; // a terminal is the input as well
    int error_fd;
};

#define CONTAINER_NAMESPACES                                                                       \
    (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | (uint64_t)CLONE_NEWCGROUP)

// Like fork(). `cgroup_fd`: the child's control group; -1: this process's.
pid_t clone_process(uint64_t flags, int cgroup_fd);

// 0, or -1 with the failure.
int launch(const struct process_spec *spec, struct launched *launched, struct failure *failure);
