/*
 * A time by which the process has ended once a signal asked for it, whatever its threads do: the
 * event loop may be busy, a device may never finish.
 */
#ifndef TSVM_END_DEADLINE_H
#define TSVM_END_DEADLINE_H

#include <stddef.h>

/*
 * A signal that comes again later than this ends the process at once. Sooner, it is the same
 * request: timeout(1) signals its child and then the process group that the child is in.
 */
#define END_REPEAT_MIN_MS 50

/*
 * From now on each of these signals, besides what its present handler does, ends the process with
 * the exit code 128 + its number: `grace_ms` after the first of them, or at once when one comes a
 * second time. A second SIGHUP does not: a terminal that closes sends several. Call this once,
 * after the handlers have been set. Uses SIGRTMIN + 1. Returns 0 or -errno.
 */
int end_deadline_set(const int *signals, size_t count, unsigned grace_ms);

#endif
