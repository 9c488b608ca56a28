/* Open file description locks (fcntl(2), F_OFD_SETLK): they go when the open file is closed. */
#ifndef TSVM_FILE_LOCK_H
#define TSVM_FILE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Locks `length` bytes from `start`; a length of 0 reaches to the end, however long the file grows.
 * Never waits: -EAGAIN when another open file's lock conflicts. Returns 0 or -errno.
 */
int file_lock(int fd, bool exclusive, uint64_t start, uint64_t length);

/* Whether file_lock() would answer -EAGAIN: 1, 0 or -errno. */
int file_lock_conflicts(int fd, bool exclusive, uint64_t start, uint64_t length);

#endif
