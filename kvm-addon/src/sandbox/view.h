/*
 * The files that a process sees which gives up root: a root folder of its own, with nothing in it
 * but the paths that it still needs, at their places.
 */
#ifndef TSVM_VIEW_H
#define TSVM_VIEW_H

#include <limits.h>

#include "sandbox_types.h"

struct view {
    int fd;             /* the mount namespace; -1: all files are seen */
    char cwd[PATH_MAX]; /* a folder of this path is there, so that relative paths keep their meaning
                         */
};

/*
 * Make the view, on a thread that is the sole one in a new mount namespace: first what does not
 * depend on the paths, then the rest. Return 0, or -errno where mounts are not allowed, as in a
 * container.
 */
int view_begin(void);
int view_finish(struct view *view, const struct sandbox_path *paths, size_t count);

/* For each thread, as root. Async-signal-safe. Returns 0 or -errno. */
int view_enter(const struct view *view);

#endif
