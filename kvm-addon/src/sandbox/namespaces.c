#include "namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* The namespaces being made. */
static struct {
    pthread_t thread;
    bool begun;
    struct namespaces made;
} work;

static int make(struct namespaces *made)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWIPC) < 0)
        return errno == EPERM || errno == ENOSPC || errno == EINVAL ? 0 : -errno;
    made->net_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (made->net_fd >= 0)
        made->ipc_fd = open("/proc/thread-self/ns/ipc", O_RDONLY | O_CLOEXEC);
    return made->net_fd < 0 || made->ipc_fd < 0 ? -errno : 0;
}

static void *thread_main(void *context)
{
    (void)context;
    /* Only this thread is in the namespaces, until others enter them by their descriptors. */
    return (void *)(intptr_t)make(&work.made);
}

int namespaces_begin(void)
{
    if (work.begun)
        return 0;
    work.made = (struct namespaces){.net_fd = -1, .ipc_fd = -1};
    int error = pthread_create(&work.thread, NULL, thread_main, NULL);
    work.begun = error == 0;
    return -error;
}

int namespaces_take(struct namespaces *namespaces)
{
    void *result;
    int error = namespaces_begin();
    if (error < 0)
        return error;
    pthread_join(work.thread, &result);
    work.begun = false;
    *namespaces = work.made;
    return (int)(intptr_t)result;
}

void namespaces_close(const struct namespaces *namespaces)
{
    if (namespaces->net_fd >= 0)
        close(namespaces->net_fd);
    if (namespaces->ipc_fd >= 0)
        close(namespaces->ipc_fd);
}
