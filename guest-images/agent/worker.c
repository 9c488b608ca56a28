#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "archive.h"
#include "archive_writer.h"
#include "message.h"
#include "process_list.h"
#include "processors.h"
#include "trim.h"
#include "vsock.h"

// The connection's descriptor in a worker: the first one behind the standard streams.
#define CONNECTION_FD 3

// Each may send and receive frames of data; the reply, or the failure, is the last frame.
static const struct task {
    uint8_t type;
    int (*run)(int fd, struct bytes request, struct message *reply, struct failure *failure);
} tasks[] = {
    {FRAME_PROCESSES, process_list},    {FRAME_PATH_STAT, path_stat},
    {FRAME_READ_ARCHIVE, archive_read}, {FRAME_WRITE_ARCHIVE, archive_write},
    {FRAME_CHANGES, archive_changes},   {FRAME_UPPER_ARCHIVE, archive_upper},
    {FRAME_ROOT_ARCHIVE, archive_root}, {FRAME_TRIM, trim},
};

static int run_task(int fd, const struct frame_reader *request, struct message *reply,
                    struct failure *failure)
{
    struct bytes fields = {request->payload, request->length};
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        if (tasks[i].type == request->type)
            return tasks[i].run(fd, fields, reply, failure);
    }
    return fail(failure, ERROR_INVALID_REQUEST, 0, "unknown request %d", request->type);
}

static void answer(int fd, const struct frame_reader *request)
{
    struct message reply = {0};
    struct failure failure = {0};
    message_begin(&reply, FRAME_REPLY);
    if (run_task(fd, request, &reply, &failure) < 0)
        message_failure(&reply, &failure);
    else
        message_end(&reply);
    write_all(fd, reply.data, reply.length);
}

// Waits for the host to close the connection. A close from here would refuse what is on its way,
// and the host, whose write fails, might not see the answer.
static void await_close(int fd)
{
    static char ignored[65536];
    shutdown(fd, SHUT_WR);
    while (read(fd, ignored, sizeof ignored) > 0)
        ;
}

// Nothing of the agent's stays open: the ends of other connections are others' to see.
static int keep_only(int connection_fd)
{
    if (connection_fd != CONNECTION_FD)
        dup2(connection_fd, CONNECTION_FD);
    syscall(SYS_close_range, CONNECTION_FD + 1U, ~0U, 0U);
    fcntl(CONNECTION_FD, F_SETFL, 0);
    return CONNECTION_FD;
}

void worker_start(int connection_fd, const struct frame_reader *request)
{
    pid_t pid = fork();
    if (pid == 0) {
        stay_with_device();
        int fd = keep_only(connection_fd);
        answer(fd, request);
        await_close(fd);
        _exit(0);
    }
    if (pid < 0) {
        struct message message = {0};
        struct failure failure;
        fail_call(&failure, "cannot start a worker");
        if (message_failure(&message, &failure) == 0)
            write_all(connection_fd, message.data, message.length);
        message_free(&message);
    }
    close(connection_fd);
}
