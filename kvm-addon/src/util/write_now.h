/* Non-blocking output. */
#ifndef TSVM_WRITE_NOW_H
#define TSVM_WRITE_NOW_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Writes to a pipe or socket without blocking and without setting O_NONBLOCK, which other processes
 * that share the file description would see. Returns the number of bytes written, 0 when it would
 * block, or -errno; -EOPNOTSUPP for kinds of files that do not support this.
 */
ssize_t write_now(int fd, const void *bytes, size_t length);

#endif
