/* Stream sockets with a name in the file system (unix(7)). All have O_CLOEXEC and O_NONBLOCK. */
#ifndef TSVM_UNIX_SOCKET_H
#define TSVM_UNIX_SOCKET_H

/* Longest path in bytes, without the NUL: sun_path has 108. */
#define UNIX_SOCKET_PATH_MAX 107

/*
 * Creates a listening socket. Returns its descriptor, -EADDRINUSE (the file exists), -ENAMETOOLONG
 * or another -errno.
 */
int unix_socket_listen(const char *path);

/*
 * Connects without blocking. Returns a descriptor, -EAGAIN (the backlog of the listener is full),
 * -ECONNREFUSED (nobody listens), -ENOENT or another -errno.
 */
int unix_socket_connect(const char *path);

#endif
