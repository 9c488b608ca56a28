#include "processors.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSFS "/sys"
#define PATH_BYTES 64

static pid_t worker;

// False: there is no such processor, or it cannot be switched off and so runs.
static bool open_switch(unsigned number, int *fd)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, SYSFS "/devices/system/cpu/cpu%u/online", number);
    *fd = open(path, O_WRONLY | O_CLOEXEC);
    return *fd >= 0;
}

static void bring_up(int first_fd)
{
    int fd = first_fd;
    for (unsigned number = 1; number == 1 || open_switch(number, &fd); number++) {
        (void)!write(fd, "1", 1);
        close(fd);
    }
}

int processors_start(void)
{
    int fd;
    mkdir(SYSFS, 0755);
    if (mount("sysfs", SYSFS, "sysfs", 0, NULL) < 0)
        return -errno;
    if (!open_switch(1, &fd))
        return 0;
    pid_t pid = fork();
    if (pid == 0) {
        bring_up(fd);
        _exit(0);
    }
    int result = pid < 0 ? -errno : 0;
    close(fd);
    worker = pid;
    return result;
}

void processors_wait(void)
{
    // The loop may have reaped it.
    while (worker > 0 && waitpid(worker, NULL, 0) < 0 && errno == EINTR)
        ;
    worker = 0;
}

int processors_prepare(struct bytes request, struct message *reply, struct failure *failure)
{
    (void)request;
    (void)reply;
    (void)failure;
    processors_wait();
    return 0;
}

void stay_with_device(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    sched_setaffinity(0, sizeof set, &set);
}
