/* Output that never waits for its reader. */
#ifndef TSVM_WRITE_NOW_H
#define TSVM_WRITE_NOW_H

#include <stddef.h>

/*
 * Writes as many bytes as a pipe or a socket takes without waiting, in whatever mode `fd` is, which
 * is shared with other processes. Returns how many: 0 too when the file cannot do this or failed,
 * which the caller learns from an ordinary write.
 */
size_t write_now(int fd, const void *bytes, size_t length);

#endif
