/* New network and IPC namespaces for a process that gives up root. */
#ifndef TSVM_NAMESPACES_H
#define TSVM_NAMESPACES_H

/* Descriptors for setns(2); -1: none. */
struct namespaces {
    int net_fd, ipc_fd;
};

/*
 * Begins to make namespaces, on a thread of its own: the kernel takes half a millisecond. Once, as
 * root. Returns 0 or -errno of pthread_create(3).
 */
int namespaces_begin(void);

/*
 * Waits for the namespaces, and begins them before if need be. There are none where a container
 * allows none. The caller closes them. Returns 0 or -errno.
 */
int namespaces_take(struct namespaces *namespaces);

void namespaces_close(const struct namespaces *namespaces);

#endif
