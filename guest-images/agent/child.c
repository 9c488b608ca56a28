#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container.h"
#include "identity.h"
#include "init_reaper.h"
#include "privileges.h"
#include "processors.h"
#include "program.h"
#include "protocol.h"
#include "world.h"

#define NAMESPACES_OF_EXEC (CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static void reset_signals(void)
{
    sigset_t none;
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int enter_world(enum child_kind kind, int terminal_fd, struct failure *failure)
{
    switch (kind) {
    case CHILD_FIRST:
        return world_create(terminal_fd, failure);
    case CHILD_EXEC:
        if (setns(container.init_fd, NAMESPACES_OF_EXEC) < 0)
            return fail_call(failure, "cannot enter the container");
        return 0;
    default:
        return world_of_guest(failure);
    }
}

static int connect_streams(const struct process_spec *spec, const struct child_streams *streams,
                           struct failure *failure)
{
    int input_fd = streams->input_fd;
    if (input_fd < 0)
        input_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (input_fd < 0)
        return fail_call(failure, "cannot open /dev/null");
    if (dup2(input_fd, STDIN_FILENO) < 0 || dup2(streams->output_fd, STDOUT_FILENO) < 0 ||
        dup2(streams->error_fd, STDERR_FILENO) < 0)
        return fail_call(failure, "cannot connect the standard streams");
    if (spec->has_terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        return fail_call(failure, "cannot make the terminal the controlling one");
    return 0;
}

// So that the user may open /dev/stdout and its like.
static void own_streams(const struct identity *identity)
{
    struct stat null_device, stream;
    if (identity->user_id == 0 || stat("/dev/null", &null_device) < 0)
        return;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fstat(fd, &stream) == 0 && stream.st_rdev != null_device.st_rdev)
            (void)!fchown(fd, identity->user_id, (gid_t)-1);
    }
}

static int set_resource_limits(const struct process_spec *spec, struct failure *failure)
{
    for (size_t i = 0; i < spec->limit_count; i++) {
        const struct resource_limit *limit = &spec->limits[i];
        struct rlimit value = {.rlim_cur = limit->soft, .rlim_max = limit->hard};
        if (setrlimit((unsigned)limit->number, &value) < 0)
            return fail_call(failure, "cannot set resource limit %d", limit->number);
    }
    return 0;
}

static int set_oom_score(const struct process_spec *spec, struct failure *failure)
{
    char text[16];
    if (!spec->has_oom_score_adjust)
        return 0;
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    int length = snprintf(text, sizeof text, "%d", spec->oom_score_adjust);
    if (fd < 0 || write(fd, text, (size_t)length) != length)
        return fail_call(failure, "cannot set the OOM score to %s", text);
    close(fd);
    return 0;
}

static void make_directories(const char *path)
{
    char part[4096];
    size_t length = strlen(path);
    if (length >= sizeof part)
        return;
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != 0)
            continue;
        char end = part[i];
        part[i] = 0;
        mkdir(part, 0755);
        part[i] = end;
    }
}

static int enter_directory(enum child_kind kind, const struct process_spec *spec,
                           struct failure *failure)
{
    const char *path = spec->directory;
    if (chdir(path) == 0)
        return 0;
    if (errno == ENOENT && kind == CHILD_FIRST) {
        make_directories(path);
        if (chdir(path) == 0)
            return 0;
    }
    int number = errno;
    return fail(failure, ERROR_NO_WORKING_DIRECTORY, number, "chdir to cwd (\"%s\") failed: %s",
                path, error_text(number));
}

static int become(enum child_kind kind, const struct process_spec *spec,
                  const struct child_streams *streams, struct failure *failure)
{
    struct identity identity;
    int terminal_fd = spec->has_terminal ? streams->input_fd : -1;
    if (enter_world(kind, terminal_fd, failure) < 0 ||
        connect_streams(spec, streams, failure) < 0 || set_resource_limits(spec, failure) < 0 ||
        set_oom_score(spec, failure) < 0 ||
        identity_find(spec->user, &spec->groups, &identity, failure) < 0 ||
        enter_directory(kind, spec, failure) < 0)
        return -1;
    own_streams(&identity);
    leave_device();
    if (privileges_apply(spec, &identity, failure) < 0)
        return -1;
    if (kind == CHILD_FIRST && container.has_init)
        init_reaper_fork(spec->has_terminal);
    return program_execute(spec, identity.home, failure);
}

void child_run(enum child_kind kind, const struct process_spec *spec,
               const struct child_streams *streams)
{
    struct failure failure = {0};
    reset_signals();
    setsid();
    become(kind, spec, streams, &failure);
    (void)!write(streams->status_fd, &failure, sizeof failure);
    _exit(127);
}
