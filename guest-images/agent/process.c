#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container.h"
#include "launch.h"
#include "loop.h"
#include "message.h"
#include "vsock.h"

// Frames of one stream before the loop looks at others.
#define BURST 16
// A pipe has the first size. One that was full gets the second, so that a program that writes much
// is woken less often.
#define PIPE_BYTES (64 << 10)
#define LARGE_PIPE_BYTES (256 << 10)
// No number of bytes: up to what is there.
#define UNLIMITED SIZE_MAX

struct process {
    struct process *next;
    pid_t pid;
    bool started;
    bool ended;
    bool exit_sent;
    bool closing; // all has been sent: waits for the host to close the connection
    bool has_terminal;
    int status;
    struct watch connection; // -1: the host has gone, output is discarded
    struct watch launch;     // the status pipe, until the exec
    struct watch input;
    struct watch output;
    struct watch error;
    // Bytes that were in the pipe when the process ended; what comes later is others'.
    size_t output_due;
    size_t error_due;
    // Input that the process has not read, and how much of the frame it has.
    struct frame_reader reader;
    bool input_pending;
    size_t input_written;
    // A frame that the host has not taken.
    uint8_t *frame;
    size_t frame_length;
    size_t frame_sent;
};

static struct process *processes;

static void settle(struct process *process);

#define OWNER(watch, member) ((struct process *)((char *)(watch)-offsetof(struct process, member)))

static struct process *find_process(uint64_t pid)
{
    struct process *process = processes;
    while (process != NULL && (uint64_t)process->pid != pid)
        process = process->next;
    return process;
}

static void process_free(struct process *process)
{
    struct process **link = &processes;
    while (*link != process)
        link = &(*link)->next;
    *link = process->next;
    loop_close(&process->connection);
    loop_close(&process->launch);
    if (process->input.fd != process->output.fd)
        loop_close(&process->input);
    loop_close(&process->output);
    loop_close(&process->error);
    frame_reader_free(&process->reader);
    free(process->frame);
    free(process);
}

static void lose_connection(struct process *process)
{
    loop_close(&process->connection);
    process->frame_length = process->frame_sent = 0;
}

// Sends what there is of the current frame.
static void send_frame(struct process *process)
{
    if (process->connection.fd < 0) {
        process->frame_length = process->frame_sent = 0;
        return;
    }
    while (process->frame_sent < process->frame_length) {
        ssize_t count = send(process->connection.fd, process->frame + process->frame_sent,
                             process->frame_length - process->frame_sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count < 0) {
            lose_connection(process);
            return;
        }
        process->frame_sent += (size_t)count;
    }
    process->frame_length = process->frame_sent = 0;
}

static void send_message(struct process *process, struct message *message)
{
    if (message_end(message) == 0 && message->length <= FRAME_HEADER_BYTES + DATA_BYTES_MAX) {
        memcpy(process->frame, message->data, message->length);
        process->frame_length = message->length;
        send_frame(process);
    }
    message_free(message);
}

static void send_end_of_stream(struct process *process, uint8_t type)
{
    frame_header(process->frame, type, 0);
    process->frame_length = FRAME_HEADER_BYTES;
    send_frame(process);
}

// Output of one stream, until it is empty or the host takes no more.
static void pump_output(struct process *process, struct watch *stream, uint8_t type, size_t *due)
{
    for (int i = 0; i < BURST && stream->fd >= 0 && process->frame_length == 0; i++) {
        ssize_t count = read(stream->fd, process->frame + FRAME_HEADER_BYTES, DATA_BYTES_MAX);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN) {
            if (process->ended)
                *due = 0;
            return;
        }
        if (count <= 0) { // a terminal without users fails with EIO
            *due = 0;
            if (process->input.fd == stream->fd)
                process->input.fd = -1;
            loop_close(stream);
            send_end_of_stream(process, type);
            return;
        }
        if (count == PIPE_BYTES)
            fcntl(stream->fd, F_SETPIPE_SZ, LARGE_PIPE_BYTES);
        frame_header(process->frame, type, (uint32_t)count);
        process->frame_length = FRAME_HEADER_BYTES + (size_t)count;
        send_frame(process);
        if (*due != UNLIMITED)
            *due -= (size_t)count < *due ? (size_t)count : *due;
    }
}

static void send_exit(struct process *process)
{
    struct message message = {0};
    message_begin(&message, FRAME_EXIT);
    if (WIFSIGNALED(process->status))
        message_number(&message, EXIT_SIGNAL, (uint64_t)WTERMSIG(process->status));
    else
        message_number(&message, EXIT_CODE, (uint64_t)WEXITSTATUS(process->status));
    process->exit_sent = true;
    send_message(process, &message);
    if (process->has_terminal && process->output.fd >= 0) {
        // Its session has ended with it.
        process->input.fd = -1;
        loop_close(&process->output);
    }
}

static void close_input(struct process *process)
{
    process->input_pending = false;
    if (process->has_terminal)
        return;
    loop_close(&process->input);
}

// Looks at where the process stands: what to watch, whether to tell its end, whether to forget it.
static void settle(struct process *process)
{
    if (process->ended && process->started && !process->exit_sent && process->frame_length == 0 &&
        process->output_due == 0 && process->error_due == 0)
        send_exit(process);
    bool can_send = process->frame_length == 0;
    if (process->exit_sent && can_send && process->output.fd < 0 && process->error.fd < 0) {
        // Input may still be on its way. A close would refuse it, and the host, whose write fails,
        // might not see what has been sent.
        if (process->connection.fd < 0) {
            process_free(process);
            return;
        }
        if (!process->closing) {
            shutdown(process->connection.fd, SHUT_WR);
            close_input(process);
        }
        process->closing = true;
    }
    // A terminal's descriptor is watched as the output, for both directions.
    bool is_shared = process->has_terminal;
    uint32_t for_input = process->input_pending ? EPOLLOUT : 0;
    loop_change(&process->output,
                (can_send && process->started ? EPOLLIN : 0) | (is_shared ? for_input : 0));
    loop_change(&process->error, can_send && process->started ? EPOLLIN : 0);
    if (!is_shared)
        loop_change(&process->input, for_input);
    loop_change(&process->connection, (process->input_pending || !process->started ? 0 : EPOLLIN) |
                                          (can_send ? 0 : EPOLLOUT));
}

// Gives the process the rest of a frame of input. False if it does not take all of it.
static bool write_input(struct process *process)
{
    struct frame_reader *reader = &process->reader;
    int fd = process->has_terminal ? process->output.fd : process->input.fd;
    while (fd >= 0 && process->input_written < reader->length) {
        ssize_t count = write(fd, reader->payload + process->input_written,
                              reader->length - process->input_written);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return false;
        if (count < 0) {
            close_input(process);
            return true;
        }
        process->input_written += (size_t)count;
    }
    return true;
}

static void pump_input(struct process *process)
{
    struct frame_reader *reader = &process->reader;
    for (int i = 0; i < BURST; i++) {
        if (!process->input_pending) {
            int result = frame_reader_read(reader, process->connection.fd, DATA_BYTES_MAX);
            if (result < 0)
                lose_connection(process);
            if (result < 0 || (result > 0 && (reader->type != FRAME_STDIN || reader->length == 0)))
                close_input(process);
            if (result <= 0)
                return;
            process->input_written = 0;
        }
        process->input_pending = !write_input(process);
        if (process->input_pending)
            return;
        frame_reader_next(reader);
    }
}

static void pump_outputs(struct process *process)
{
    pump_output(process, &process->output, FRAME_STDOUT, &process->output_due);
    pump_output(process, &process->error, FRAME_STDERR, &process->error_due);
}

static void connection_ready(struct watch *watch, uint32_t events)
{
    struct process *process = OWNER(watch, connection);
    if (events & EPOLLOUT) {
        send_frame(process);
        pump_outputs(process);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && process->connection.fd >= 0 &&
        !process->input_pending)
        pump_input(process);
    settle(process);
}

static void input_ready(struct watch *watch, uint32_t events)
{
    struct process *process = OWNER(watch, input);
    (void)events;
    pump_input(process);
    settle(process);
}

static void output_ready(struct watch *watch, uint32_t events)
{
    struct process *process = OWNER(watch, output);
    if ((events & EPOLLOUT) && process->input_pending)
        pump_input(process);
    pump_output(process, &process->output, FRAME_STDOUT, &process->output_due);
    settle(process);
}

static void error_ready(struct watch *watch, uint32_t events)
{
    struct process *process = OWNER(watch, error);
    (void)events;
    pump_output(process, &process->error, FRAME_STDERR, &process->error_due);
    settle(process);
}

static void send_failure(struct process *process, const struct failure *failure)
{
    struct message message = {0};
    if (message_failure(&message, failure) == 0)
        write_all(process->connection.fd, message.data, message.length);
    message_free(&message);
}

// The exec has succeeded or failed.
static void launch_ready(struct watch *watch, uint32_t events)
{
    struct process *process = OWNER(watch, launch);
    struct failure failure;
    (void)events;
    ssize_t count = read(watch->fd, &failure, sizeof failure);
    loop_close(watch);
    if (count == (ssize_t)sizeof failure) {
        failure.text[sizeof failure.text - 1] = 0;
        send_failure(process, &failure);
        process_free(process);
        return;
    }
    struct message message = {0};
    message_begin(&message, FRAME_REPLY);
    message_number(&message, STARTED_PROCESS, (uint64_t)process->pid);
    process->started = true;
    send_message(process, &message);
    pump_outputs(process);
    settle(process);
}

static void adopt(struct process *process, int connection_fd, const struct launched *launched)
{
    process->pid = launched->pid;
    process->connection = (struct watch){.fd = connection_fd, .ready = connection_ready};
    process->launch = (struct watch){.fd = launched->status_fd, .ready = launch_ready};
    process->input = (struct watch){.fd = launched->input_fd, .ready = input_ready};
    process->output = (struct watch){.fd = launched->output_fd, .ready = output_ready};
    process->error = (struct watch){.fd = launched->error_fd, .ready = error_ready};
    process->output_due = process->error_due = UNLIMITED;
    process->next = processes;
    processes = process;
    loop_add(&process->launch, EPOLLIN);
}

void process_start(int connection_fd, const struct frame_reader *request)
{
    struct failure failure;
    struct process_spec spec;
    struct launched launched;
    struct bytes fields = {request->payload, request->length};
    struct process *process = calloc(1, sizeof *process);
    uint8_t *frame = malloc(FRAME_HEADER_BYTES + DATA_BYTES_MAX);
    int result = process_spec_parse(fields, &spec, &failure);
    if (result == 0 && (process == NULL || frame == NULL))
        result = fail(&failure, ERROR_GUEST_FAILED, ENOMEM, "out of memory");
    if (result == 0)
        result = launch(&spec, &launched, &failure);
    if (result == 0) {
        process->has_terminal = spec.has_terminal;
        process->frame = frame;
        adopt(process, connection_fd, &launched);
    } else {
        struct process refused = {.connection = {.fd = connection_fd}};
        send_failure(&refused, &failure);
        close(connection_fd);
        free(process);
        free(frame);
    }
    process_spec_free(&spec);
}

static size_t bytes_in(const struct watch *stream)
{
    int count = 0;
    if (stream->fd < 0 || ioctl(stream->fd, FIONREAD, &count) < 0)
        return 0;
    return (size_t)count;
}

void process_ended(pid_t pid, int status)
{
    struct process *process = find_process((uint64_t)pid);
    if (pid == container.init)
        container.ended = true;
    if (process == NULL)
        return;
    process->ended = true;
    process->status = status;
    if (process->launch.fd >= 0)
        launch_ready(&process->launch, EPOLLIN);
    process = find_process((uint64_t)pid);
    if (process == NULL)
        return;
    if (process->output.fd >= 0 && !process->has_terminal)
        process->output_due = bytes_in(&process->output);
    process->error_due = bytes_in(&process->error);
    pump_outputs(process);
    settle(process);
}

int process_send_signal(uint64_t pid, int number)
{
    const struct process *process = find_process(pid);
    if (process == NULL || process->ended)
        return 0;
    return kill(process->pid, number) < 0 ? -errno : 0;
}

void process_set_window(uint64_t pid, const struct winsize *window)
{
    const struct process *process = find_process(pid);
    if (process != NULL && process->has_terminal && process->output.fd >= 0)
        ioctl(process->output.fd, TIOCSWINSZ, window);
}
