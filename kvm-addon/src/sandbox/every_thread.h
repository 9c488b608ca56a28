/* Doing something in every thread of the process: what the kernel keeps for each thread on its own.
 */
#ifndef TSVM_EVERY_THREAD_H
#define TSVM_EVERY_THREAD_H

/*
 * Calls `action` once in each thread, one after the other and in the caller last, also in threads
 * that other ones start meanwhile; threads that start later inherit from those. In the others it
 * runs in a signal handler, so it must be async-signal-safe; there it may not change errno. It
 * returns 0 or -errno. Returns the first error, or -ETIMEDOUT when a thread does not take the
 * signal. For glibc.
 */
int every_thread_run(int (*action)(void *context), void *context);

#endif
