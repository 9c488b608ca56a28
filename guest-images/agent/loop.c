#include "loop.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BATCH 16

static int epoll_fd = -1;
// The events of this turn; those of watches that are closed meanwhile are struck out.
static struct epoll_event batch[BATCH];
static int batch_length;

int loop_open(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return epoll_fd < 0 ? -errno : 0;
}

int loop_add(struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    watch->events = events;
    if (events == 0)
        return 0;
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0 ? -errno : 0;
}

void loop_change(struct watch *watch, uint32_t events)
{
    if (watch->fd < 0 || watch->events == events)
        return;
    // epoll reports hang-ups even of descriptors that are watched for nothing: take those out.
    int operation = events == 0          ? EPOLL_CTL_DEL
                    : watch->events == 0 ? EPOLL_CTL_ADD
                                         : EPOLL_CTL_MOD;
    struct epoll_event event = {.events = events, .data.ptr = watch};
    watch->events = events;
    epoll_ctl(epoll_fd, operation, watch->fd, &event);
}

void loop_close(struct watch *watch)
{
    if (watch->fd < 0)
        return;
    // A child may have inherited the descriptor, so closing it alone would not end the watch.
    if (watch->events != 0)
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    close(watch->fd);
    watch->fd = -1;
    for (int i = 0; i < batch_length; i++) {
        if (batch[i].data.ptr == watch)
            batch[i].data.ptr = NULL;
    }
}

void loop_turn(void)
{
    batch_length = epoll_wait(epoll_fd, batch, BATCH, -1);
    for (int i = 0; i < batch_length; i++) {
        struct watch *watch = batch[i].data.ptr;
        if (watch != NULL)
            watch->ready(watch, batch[i].events);
    }
    batch_length = 0;
}
