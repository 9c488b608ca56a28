#include "memory_events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "container.h"
#include "control.h"
#include "loop.h"
#include "protocol.h"

static uint64_t count_kills(int fd)
{
    static const char word[] = "oom_kill ";
    char text[512];
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    text[length > 0 ? length : 0] = 0;
    const char *place = strstr(text, word);
    return place == NULL ? 0 : strtoull(place + strlen(word), NULL, 10);
}

static void memory_ready(struct watch *watch, uint32_t events)
{
    static uint64_t known;
    struct message event = {0};
    uint64_t kills = count_kills(watch->fd);
    (void)events;
    if (kills == known)
        return;
    known = kills;
    message_begin(&event, FRAME_EVENT);
    message_number(&event, EVENT_KIND, EVENT_OOM);
    message_number(&event, EVENT_COUNT, kills);
    if (message_end(&event) == 0)
        control_send(&event);
    message_free(&event);
}

int memory_events_open(void)
{
    static struct watch memory;
    int fd = openat(container.cgroup_fd, "memory.events", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    // Only what changes after a read is reported.
    count_kills(fd);
    memory = (struct watch){.fd = fd, .ready = memory_ready};
    return loop_add(&memory, EPOLLPRI);
}
