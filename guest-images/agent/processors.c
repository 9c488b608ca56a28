#include "processors.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSFS "/sys"
#define PATH_BYTES 64

// Where the kernel has its first threads.
#define KERNEL_THREADS_FIRST 2
#define KERNEL_THREADS_LAST 40

static pid_t worker;

// To the first processor. 0: this process.
static void pin(pid_t pid)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    sched_setaffinity(pid, sizeof set, &set);
}

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

// The thread that ends RCU's grace periods is woken by timers of the first processor, and waits for
// the handler: if the host runs another thread instead of that processor's, for a time slice.
static void keep_grace_periods(void)
{
    char path[PATH_BYTES], name[16];
    for (pid_t pid = KERNEL_THREADS_FIRST; pid <= KERNEL_THREADS_LAST; pid++) {
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? 0 : read(fd, name, sizeof name);
        if (fd >= 0)
            close(fd);
        if ((length == 10 && memcmp(name, "rcu_sched\n", 10) == 0) ||
            (length == 12 && memcmp(name, "rcu_preempt\n", 12) == 0)) {
            pin(pid);
            return;
        }
    }
}

int processors_start(void)
{
    int fd;
    keep_grace_periods();
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

void stay_with_device(void)
{
    pin(0);
}

void leave_device(void)
{
    cpu_set_t set;
    memset(&set, 0xff, sizeof set);
    sched_setaffinity(0, sizeof set, &set);
}

uint64_t processors_count(void)
{
    // The C library counts those that this process may use.
    leave_device();
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    stay_with_device();
    return (uint64_t)count;
}
