/* New namespaces for a process that gives up root: network, IPC and mounts. */
#ifndef TSVM_NAMESPACES_H
#define TSVM_NAMESPACES_H

#include "view.h"

/* Descriptors for setns(2); -1: none. */
struct namespaces {
    int net_fd, ipc_fd;
    struct view view;
};

/*
 * Begins to make namespaces with a view of these paths, on a thread of its own: the kernel takes a
 * millisecond. Once, as root. Returns 0, -ENOMEM or -errno of pthread_create(3).
 */
int namespaces_begin(const struct sandbox_path *paths, size_t count);

/*
 * Waits for the namespaces that have been begun; without any, begins those of these paths. What a
 * container does not allow is not there. The caller closes the namespaces. Returns 0 or -errno.
 */
int namespaces_take(struct namespaces *namespaces, const struct sandbox_path *paths, size_t count);

void namespaces_close(const struct namespaces *namespaces);

#endif
