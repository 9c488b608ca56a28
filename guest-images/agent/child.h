// What a new process does until it is its program.
#pragma once

#include "process_spec.h"

enum child_kind {
    CHILD_FIRST,    // the container's first process, in new namespaces
    CHILD_EXEC,     // another one in them
    CHILD_IN_GUEST, // outside of them, with the container's files
};

// -1: none. A terminal is all three streams.
struct child_streams {
    int input_fd;
    int output_fd;
    int error_fd;
    int status_fd; // gets a struct failure if the program cannot be executed
};

_Noreturn void child_run(enum child_kind kind, const struct process_spec *spec,
                         const struct child_streams *streams);
