// The guest agent: PID 1 of a container's machine. It turns the machine into a container when the
// host says so, starts processes in it, and moves their streams. See protocol.h.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "container.h"
#include "control.h"
#include "incoming.h"
#include "loop.h"
#include "memory_events.h"
#include "process.h"
#include "processors.h"
#include "rehearsal.h"
#include "seccomp.h"
#include "shutdown.h"

#define OPEN_FILES_MAX (1 << 20)

static const char *const folders[] = {
    "/proc", "/dev", "/base", "/image", "/writable", CONTAINER_ROOT, "/shares", "/files",
};

static int mount_file_systems(void)
{
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        mkdir(folders[i], 0755);
    if (mount("proc", "/proc", "proc", 0, NULL) < 0 ||
        mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL) < 0)
        return -errno;
    return 0;
}

// A console-less kernel gives none; other descriptors must not become these.
static void open_standard_streams(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

static int set_defaults(void)
{
    // As container engines run with.
    struct rlimit files = {OPEN_FILES_MAX, OPEN_FILES_MAX};
    struct rlimit processes = {RLIM_INFINITY, RLIM_INFINITY};
    umask(022);
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_NPROC, &processes) < 0)
        return -errno;
    container.own_pid_namespace_fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    return container.own_pid_namespace_fd < 0 ? -errno : 0;
}

// The only place where children are reaped.
static void children_ready(struct watch *watch, uint32_t events)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;
    (void)events;
    (void)!read(watch->fd, &info, sizeof info);
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        process_ended(pid, status);
}

static int watch_children(void)
{
    static struct watch children;
    sigset_t signals;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    children = (struct watch){.fd = fd, .ready = children_ready};
    return loop_add(&children, EPOLLIN);
}

// Steps of the boot, each 0 or -errno.
static const struct step {
    const char *name;
    int (*run)(void);
} steps[] = {
    {"mount /proc and /dev", mount_file_systems}, {"set limits", set_defaults},
    {"make a control group", cgroup_open},        {"make an event loop", loop_open},
    {"watch processes", watch_children},          {"watch the memory", memory_events_open},
    {"listen for the host", incoming_open},       {"reach the host", control_open},
    {"start processors", processors_start},       {"prepare for seccomp profiles", seccomp_prepare},
};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], REHEARSAL) == 0)
        return 0;
    stay_with_device();
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        int result = steps[i].run();
        if (result < 0) {
            dprintf(STDERR_FILENO, "tsvm agent: cannot %s: %s\n", steps[i].name, strerror(-result));
            shutdown_machine();
        }
        if (i == 0)
            open_standard_streams();
    }
    for (;;)
        loop_turn();
}
