/* Output that never waits for its reader. */
#ifndef TSVM_WRITE_NOW_H
#define TSVM_WRITE_NOW_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Writes as many bytes as a pipe or a socket takes without waiting, in whatever mode `fd` is, which
 * is shared with other processes. Returns how many, 0 when there is no room now, or -errno:
 * -EOPNOTSUPP for a file that cannot be written to in this way.
 */
ssize_t write_now(int fd, const void *bytes, size_t length);

#endif
