#include "namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* The namespaces being made. */
static struct {
    pthread_t thread;
    bool begun;
    sem_t paths_known;
    const struct sandbox_path *paths;
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
    int begun = work.made.view.fd >= 0 ? view_begin() : 0;
    while (sem_wait(&work.paths_known) < 0)
        ;
    view_make(&work.made.view, begun);
    return (void *)(intptr_t)error;
}

int namespaces_begin(void)
{
    if (work.begun)
        return 0;
    work.made = NONE;
    if (sem_init(&work.paths_known, 0, 0) < 0)
        return -errno;
    int error = pthread_create(&work.thread, NULL, thread_main, NULL);
    work.begun = error == 0;
    return -error;
}

int namespaces_take(struct namespaces *namespaces, const struct sandbox_path *paths, size_t count)
{
    void *result;
    *namespaces = NONE;
    int error = namespaces_begin();
    if (error < 0)
        return error;
    work.paths = paths;
    work.path_count = count;
    sem_post(&work.paths_known);
    pthread_join(work.thread, &result);
    work.begun = false;
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
