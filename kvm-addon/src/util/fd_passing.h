/* Passing open files over a UNIX socket (unix(7), SCM_RIGHTS). */
#ifndef TSVM_FD_PASSING_H
#define TSVM_FD_PASSING_H

#include <stddef.h>
#include <sys/types.h>

/* Maximum number of descriptors in one message: the kernel's SCM_MAX_FD. */
#define FD_PASSING_MAX 253

/*
 * Sends bytes with `fd_count` descriptors without blocking. `length` is at least 1, because a
 * stream socket carries no descriptors without data. Returns the number of bytes sent, together
 * with all descriptors; 0 when it would block; or -errno, -EINVAL for too many descriptors.
 */
ssize_t fd_passing_send(int socket, const void *bytes, size_t length, const int *fds,
                        size_t fd_count);

/*
 * Receives up to `length` bytes and the descriptors sent with them, without blocking. The caller
 * closes the descriptors, which have O_CLOEXEC. Returns the number of bytes, 0 at the end of the
 * stream, -EAGAIN when there is no data, or -errno. For more than `fds_max` descriptors, closes all
 * of them and returns -EMSGSIZE.
 */
ssize_t fd_passing_receive(int socket, void *bytes, size_t length, int *fds, size_t fds_max,
                           size_t *fd_count);

#endif
