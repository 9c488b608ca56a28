/* Open file description locks (fcntl(2), F_OFD_SETLK). Closing the file releases them. */
#ifndef TSVM_FILE_LOCK_H
#define TSVM_FILE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Locks `length` bytes from `start`; length 0: to the end of the file, even if it grows. Never
 * blocks. Returns 0, -EAGAIN when another open file description has a conflicting lock, or -errno.
 */
int file_lock(int fd, bool exclusive, uint64_t start, uint64_t length);

/* Returns 1 if file_lock() would return -EAGAIN, 0 if not, or -errno. */
int file_lock_conflicts(int fd, bool exclusive, uint64_t start, uint64_t length);

#endif
