/*
 * A deadline for the process to end after a terminating signal, even if the event loop is blocked
 * or a device never finishes.
 */
#ifndef TSVM_END_DEADLINE_H
#define TSVM_END_DEADLINE_H

#include <stddef.h>

/*
 * A signal repeated after this time ends the process immediately. Within it, the signal counts as
 * the same request: timeout(1) signals its child and then the child's process group.
 */
#define END_REPEAT_MIN_MS 200

struct end_times {
    unsigned grace_ms;      /* from the first signal to the process's end */
    unsigned repeat_min_ms; /* a signal counts as repeated from then on: END_REPEAT_MIN_MS */
};

/*
 * Makes each of these signals, in addition to running its handler, end the process with exit code
 * 128 + signal number: `grace_ms` after the first signal, which is told on standard error, or
 * immediately when a signal is repeated. A repeated SIGHUP does not count, because a closing
 * terminal sends several. Call this once, after the handlers have been installed. Uses SIGRTMIN
 * + 1. Returns 0 or -errno.
 */
int end_deadline_set(const int *signals, size_t count, const struct end_times *times);

#endif
