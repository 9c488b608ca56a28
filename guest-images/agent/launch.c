#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <linux/sched.h>

#include "child.h"
#include "container.h"
#include "processors.h"
#include "protocol.h"

// Both ends of each stream.
struct streams {
    struct child_streams child;
    struct launched agent;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_agent_ends(struct launched *launched)
{
    close_fd(&launched->status_fd);
    close_fd(&launched->input_fd);
    close_fd(&launched->output_fd);
    close_fd(&launched->error_fd);
}

static void close_child_ends(struct child_streams *child)
{
    // A terminal is all three.
    if (child->output_fd == child->input_fd)
        child->output_fd = -1;
    if (child->error_fd == child->input_fd)
        child->error_fd = -1;
    close_fd(&child->input_fd);
    close_fd(&child->output_fd);
    close_fd(&child->error_fd);
    close_fd(&child->status_fd);
}

static int open_pipe(int *agent_fd, int *child_fd, bool agent_reads, struct failure *failure)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail_call(failure, "cannot make a pipe");
    *agent_fd = fds[agent_reads ? 0 : 1];
    *child_fd = fds[agent_reads ? 1 : 0];
    fcntl(*agent_fd, F_SETFL, O_NONBLOCK);
    return 0;
}

static int open_terminal(const struct process_spec *spec, struct streams *streams,
                         struct failure *failure)
{
    int unlock = 0;
    int master = open(CONTAINER_ROOT "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (master < 0)
        return fail_call(failure, "cannot open a terminal");
    streams->agent.output_fd = master;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return fail_call(failure, "cannot unlock the terminal");
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return fail_call(failure, "cannot open the terminal's other end");
    streams->child.input_fd = streams->child.output_fd = streams->child.error_fd = slave;
    ioctl(master, TIOCSWINSZ, &spec->window);
    return 0;
}

static int open_streams(const struct process_spec *spec, struct streams *streams,
                        struct failure *failure)
{
    struct launched *agent = &streams->agent;
    struct child_streams *child = &streams->child;
    if (open_pipe(&agent->status_fd, &child->status_fd, true, failure) < 0)
        return -1;
    if (spec->has_terminal)
        return open_terminal(spec, streams, failure);
    if (spec->has_stdin && open_pipe(&agent->input_fd, &child->input_fd, false, failure) < 0)
        return -1;
    if (open_pipe(&agent->output_fd, &child->output_fd, true, failure) < 0 ||
        open_pipe(&agent->error_fd, &child->error_fd, true, failure) < 0)
        return -1;
    return 0;
}

pid_t clone_process(uint64_t flags, int cgroup_fd)
{
    struct clone_args arguments = {.flags = flags, .exit_signal = SIGCHLD};
    if (cgroup_fd >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)cgroup_fd;
    }
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

// Like fork(): 0 in the child, which is in the namespaces that its children belong to.
static pid_t clone_for(enum child_kind kind)
{
    if (kind == CHILD_FIRST)
        return clone_process(CONTAINER_NAMESPACES, container.cgroup_fd);
    if (kind == CHILD_IN_GUEST)
        return clone_process(0, -1);
    // Children are created in the namespace that their parent chose; then it chooses its own again.
    if (setns(container.pid_namespace_fd, CLONE_NEWPID) < 0)
        return -1;
    pid_t pid = clone_process(0, container.cgroup_fd);
    if (pid != 0) {
        int error = errno;
        setns(container.own_pid_namespace_fd, CLONE_NEWPID);
        errno = error;
    }
    return pid;
}

static int keep_first(pid_t pid, struct failure *failure)
{
    container.init = pid;
    container.init_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (container.init_fd < 0)
        return fail_call(failure, "cannot open the container's first process");
    container.pid_namespace_fd = container.init_fd;
    return 0;
}

int launch(const struct process_spec *spec, struct launched *launched, struct failure *failure)
{
    enum child_kind kind = spec->in_guest        ? CHILD_IN_GUEST
                           : container.init == 0 ? CHILD_FIRST
                                                 : CHILD_EXEC;
    struct streams streams = {.child = {-1, -1, -1, -1}, .agent = {0, -1, -1, -1, -1}};
    if (!container.assembled)
        return fail(failure, ERROR_WRONG_STATE, 0, "the container has no root yet");
    if (kind == CHILD_EXEC && container.ended)
        return fail(failure, ERROR_WRONG_STATE, 0, "the container's first process has ended");
    if (kind == CHILD_FIRST)
        processors_wait();
    if (open_streams(spec, &streams, failure) == 0) {
        pid_t pid = clone_for(kind);
        if (pid == 0) {
            close_agent_ends(&streams.agent);
            child_run(kind, spec, &streams.child);
        }
        if (pid > 0 && (kind != CHILD_FIRST || keep_first(pid, failure) == 0)) {
            close_child_ends(&streams.child);
            *launched = streams.agent;
            launched->pid = pid;
            return 0;
        }
        if (pid < 0)
            fail_call(failure, "cannot start a process");
    }
    close_child_ends(&streams.child);
    close_agent_ends(&streams.agent);
    return -1;
}
