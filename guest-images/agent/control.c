#include "control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "clock.h"
#include "fields.h"
#include "frame_reader.h"
#include "link.h"
#include "loop.h"
#include "process_requests.h"
#include "rehearsal.h"
#include "restored.h"
#include "root.h"
#include "shutdown.h"
#include "stats.h"
#include "vsock.h"

#define REDIALS_MAX 500
#define REDIAL_PAUSE_NS 20000000

static struct watch connection = {.fd = -1};
static struct frame_reader reader;
// What the host has not taken yet.
static uint8_t *unsent;
static size_t unsent_length;

// Each fills in the reply's fields, or the failure.
static const struct handler {
    uint8_t type;
    int (*handle)(struct bytes request, struct message *reply, struct failure *failure);
} handlers[] = {
    {FRAME_ASSEMBLE, root_assemble},
    {FRAME_SIGNAL, process_signal},
    {FRAME_RESIZE, process_resize},
    {FRAME_STATS, stats_read},
    {FRAME_LIMITS, cgroup_change_limits},
    {FRAME_CLOCK, clock_set},
    {FRAME_SHUTDOWN, shutdown_prepare},
    {FRAME_FREEZE, cgroup_freeze},
    {FRAME_THAW, cgroup_thaw},
    {FRAME_PREPARE, rehearsal_run},
    {FRAME_RESTORED, restored_renew},
    {FRAME_ATTACH_INTERFACE, link_attach},
    {FRAME_DETACH_INTERFACE, link_detach},
};

static int connect_to_host(void);

// A machine that goes on from a saved state has lost its connections, and its host awaits a new
// one. Otherwise the host is gone, and the machine has no purpose.
static void lose_connection(void)
{
    static const struct timespec pause = {.tv_nsec = REDIAL_PAUSE_NS};
    loop_close(&connection);
    frame_reader_next(&reader);
    unsent_length = 0;
    for (int i = 0; i < REDIALS_MAX; i++) {
        if (connect_to_host() == 0)
            return;
        nanosleep(&pause, NULL);
    }
    shutdown_machine();
}

static void send_unsent(void)
{
    while (unsent_length > 0) {
        ssize_t count = write(connection.fd, unsent, unsent_length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            break;
        if (count < 0) {
            lose_connection();
            return;
        }
        unsent_length -= (size_t)count;
        memmove(unsent, unsent + count, unsent_length);
    }
    loop_change(&connection, unsent_length > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void control_send(const struct message *message)
{
    uint8_t *data = realloc(unsent, unsent_length + message->length);
    if (data == NULL)
        return;
    unsent = data;
    memcpy(unsent + unsent_length, message->data, message->length);
    unsent_length += message->length;
    send_unsent();
}

static int handle_request(struct message *reply, struct failure *failure)
{
    struct bytes request = {reader.payload, reader.length};
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        if (handlers[i].type == reader.type)
            return handlers[i].handle(request, reply, failure);
    }
    return fail(failure, ERROR_INVALID_REQUEST, 0, "unknown request %d", reader.type);
}

static void answer_request(void)
{
    struct message reply = {0};
    struct failure failure = {0};
    bool is_last = reader.type == FRAME_SHUTDOWN;
    message_begin(&reply, FRAME_REPLY);
    int result = handle_request(&reply, &failure) < 0 ? message_failure(&reply, &failure)
                                                      : message_end(&reply);
    if (result < 0) { // out of memory: the host must not wait for the answer
        message_free(&reply);
        lose_connection();
        return;
    }
    if (is_last) {
        write_all(connection.fd, unsent, unsent_length);
        write_all(connection.fd, reply.data, reply.length);
        shutdown_machine();
    }
    control_send(&reply);
    message_free(&reply);
}

static void connection_ready(struct watch *watch, uint32_t events)
{
    if (events & EPOLLOUT)
        send_unsent();
    int result = 0;
    // An answer may have ended the connection.
    while (watch->fd >= 0 &&
           (result = frame_reader_read(&reader, watch->fd, REQUEST_BYTES_MAX)) > 0) {
        answer_request();
        frame_reader_next(&reader);
    }
    if (result < 0)
        lose_connection();
}

static void say_hello(void)
{
    struct timespec uptime;
    struct message hello = {0};
    clock_gettime(CLOCK_BOOTTIME, &uptime);
    message_begin(&hello, FRAME_HELLO);
    message_number(&hello, HELLO_VERSION, PROTOCOL_VERSION);
    message_number(&hello, HELLO_UPTIME_US,
                   (uint64_t)uptime.tv_sec * 1000000 + (uint64_t)uptime.tv_nsec / 1000);
    if (message_end(&hello) == 0)
        control_send(&hello);
    message_free(&hello);
}

static int connect_to_host(void)
{
    int fd = vsock_dial(AGENT_PORT);
    if (fd < 0)
        return fd;
    connection = (struct watch){.fd = fd, .ready = connection_ready};
    int result = loop_add(&connection, EPOLLIN);
    if (result < 0)
        return result;
    say_hello();
    return 0;
}

int control_open(void)
{
    return connect_to_host();
}
