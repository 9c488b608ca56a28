#include "namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The namespaces being made. */
static struct {
    pthread_t thread;
    bool begun;
    struct sandbox_path *paths; /* copies */
    size_t path_count;
    struct namespaces made;
} work;

static const struct namespaces NONE = {.net_fd = -1, .ipc_fd = -1, .view = {.fd = -1}};

static int namespace_open(const char *path, int *fd)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    return *fd < 0 ? -errno : 0;
}

static int make(struct namespaces *made)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS) < 0)
        return errno == EPERM || errno == ENOSPC || errno == EINVAL ? 0 : -errno;
    int error = namespace_open("/proc/thread-self/ns/net", &made->net_fd);
    if (error == 0)
        error = namespace_open("/proc/thread-self/ns/ipc", &made->ipc_fd);
    if (error == 0)
        error = namespace_open("/proc/thread-self/ns/mnt", &made->view.fd);
    return error;
}

/* Without a view, Landlock alone decides about files. */
static void view_make(struct view *view, int begun)
{
    if (view->fd < 0 || (begun == 0 && view_finish(view, work.paths, work.path_count) == 0))
        return;
    close(view->fd);
    view->fd = -1;
}

static void *thread_main(void *context)
{
    (void)context;
    /* Only this thread is in the namespaces, until others enter them by their descriptors. */
    int error = make(&work.made);
    view_make(&work.made.view, work.made.view.fd >= 0 ? view_begin() : 0);
    return (void *)(intptr_t)error;
}

static void paths_free(void)
{
    for (size_t i = 0; i < work.path_count; i++)
        free((char *)work.paths[i].path);
    free(work.paths);
    work.paths = NULL;
    work.path_count = 0;
}

static int paths_copy(const struct sandbox_path *paths, size_t count)
{
    work.paths = calloc(count + 1, sizeof *work.paths);
    if (!work.paths)
        return -ENOMEM;
    for (; work.path_count < count; work.path_count++) {
        const struct sandbox_path *path = &paths[work.path_count];
        char *text = strdup(path->path);
        if (!text)
            return -ENOMEM;
        work.paths[work.path_count] = (struct sandbox_path){text, path->access};
    }
    return 0;
}

int namespaces_begin(const struct sandbox_path *paths, size_t count)
{
    if (work.begun)
        return 0;
    work.made = NONE;
    int error = paths_copy(paths, count);
    if (error == 0)
        error = -pthread_create(&work.thread, NULL, thread_main, NULL);
    work.begun = error == 0;
    if (!work.begun)
        paths_free();
    return error;
}

int namespaces_take(struct namespaces *namespaces, const struct sandbox_path *paths, size_t count)
{
    void *result;
    *namespaces = NONE;
    int error = namespaces_begin(paths, count);
    if (error < 0)
        return error;
    pthread_join(work.thread, &result);
    work.begun = false;
    paths_free();
    *namespaces = work.made;
    return (int)(intptr_t)result;
}

void namespaces_close(const struct namespaces *namespaces)
{
    const int fds[] = {namespaces->net_fd, namespaces->ipc_fd, namespaces->view.fd};
    for (unsigned i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}
