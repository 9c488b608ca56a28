/* Passing open files over a UNIX socket (unix(7), SCM_RIGHTS). */
#ifndef TSVM_FD_PASSING_H
#define TSVM_FD_PASSING_H

#include <stddef.h>
#include <sys/types.h>

/* Most descriptors in one message: the kernel's SCM_MAX_FD. */
#define FD_PASSING_MAX 253

/*
 * Sends bytes with `fd_count` descriptors, without waiting. `length` is at least 1, since a stream
 * carries no descriptors without data. Returns how many bytes were sent, which all descriptors went
 * with, 0 when there is no room, or -errno; -EINVAL for too many descriptors.
 */
ssize_t fd_passing_send(int socket, const void *bytes, size_t length, const int *fds,
                        size_t fd_count);

/*
 * Receives up to `length` bytes and the descriptors of the message they belong to, without waiting;
 * the descriptors are open with O_CLOEXEC and the caller's to close. Returns how many bytes, 0 at
 * the end of the stream, -EAGAIN when nothing is there, or -errno. With more than `fds_max`
 * descriptors all are closed and the answer is -EMSGSIZE.
 */
ssize_t fd_passing_receive(int socket, void *bytes, size_t length, int *fds, size_t fds_max,
                           size_t *fd_count);

#endif
