#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "container.h"
#include "protocol.h"

#define KERNEL_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

// Of Docker's default list: what shows or changes the kernel rather than the container.
static const char *const masked_paths[] = {
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
};
static const char *const read_only_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

static int mount_kernel(const char *type, const char *path, unsigned long flags,
                        struct failure *failure)
{
    if (mount(type, path, type, KERNEL_FLAGS | flags, NULL) < 0)
        return fail_call(failure, "cannot mount %s", path + strlen(CONTAINER_ROOT));
    return 0;
}

// What belongs to the namespaces of the one who mounts it.
static int mount_of_namespaces(struct failure *failure)
{
    unsigned long control_group_flags = container.privileged ? 0 : MS_RDONLY;
    if (mount_kernel("proc", CONTAINER_ROOT "/proc", 0, failure) < 0 ||
        mount_kernel("mqueue", CONTAINER_ROOT "/dev/mqueue", 0, failure) < 0)
        return -1;
    return mount_kernel("cgroup2", CONTAINER_ROOT "/sys/fs/cgroup", control_group_flags, failure);
}

// The initial RAM file system cannot be pivoted away from: the root is moved over it.
static int change_root(struct failure *failure)
{
    if (chdir(CONTAINER_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
        return fail_call(failure, "cannot change the root");
    return 0;
}

static int set_sysctl(const char *setting, struct failure *failure)
{
    char path[256] = "/proc/sys/";
    size_t prefix = strlen(path), length = strcspn(setting, "=");
    if (setting[length] != '=' || length >= sizeof path - prefix || strstr(setting, "..") != NULL)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "not a sysctl: %s", setting);
    for (size_t i = 0; i < length; i++) // a slash stands for a dot within a name
        path[prefix + i] = setting[i] == '.' ? '/' : setting[i] == '/' ? '.' : setting[i];
    const char *value = setting + length + 1;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0) {
        fail_call(failure, "cannot set the sysctl %s", setting);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    close(fd);
    return 0;
}

static int set_sysctls(struct failure *failure)
{
    for (size_t i = 0; i < container.sysctls.count; i++) {
        if (set_sysctl(container.sysctls.items[i], failure) < 0)
            return -1;
    }
    return 0;
}

static int mask_path(const char *path, struct failure *failure)
{
    if (mount("/dev/null", path, NULL, MS_BIND, NULL) == 0 || errno == ENOENT)
        return 0;
    if (errno == ENOTDIR && mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0k") == 0)
        return 0;
    return fail_call(failure, "cannot mask %s", path);
}

static int make_read_only(const char *path, struct failure *failure)
{
    if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0) {
        if (errno == ENOENT)
            return 0;
        return fail_call(failure, "cannot mount %s onto itself", path);
    }
    if (mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | KERNEL_FLAGS, NULL) < 0)
        return fail_call(failure, "cannot make %s read-only", path);
    return 0;
}

static int restrict_paths(struct failure *failure)
{
    for (size_t i = 0; i < sizeof masked_paths / sizeof masked_paths[0]; i++) {
        if (mask_path(masked_paths[i], failure) < 0)
            return -1;
    }
    for (size_t i = 0; i < sizeof read_only_paths / sizeof read_only_paths[0]; i++) {
        if (make_read_only(read_only_paths[i], failure) < 0)
            return -1;
    }
    return 0;
}

static int set_names(struct failure *failure)
{
    if (sethostname(container.hostname, strlen(container.hostname)) < 0 ||
        setdomainname(container.domainname, strlen(container.domainname)) < 0)
        return fail_call(failure, "cannot set the host name");
    return 0;
}

// The terminal of the container's first process is its console as well.
static int bind_console(int terminal_fd, struct failure *failure)
{
    char terminal[64];
    struct stat status;
    if (terminal_fd < 0)
        return 0;
    // By its path in this mount namespace: the descriptor is of the agent's.
    if (fstat(terminal_fd, &status) < 0)
        return fail_call(failure, "cannot look at the terminal");
    snprintf(terminal, sizeof terminal, CONTAINER_ROOT "/dev/pts/%u", minor(status.st_rdev));
    int fd = open(CONTAINER_ROOT "/dev/console", O_CREAT | O_WRONLY | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd >= 0)
        close(fd);
    if (fd < 0 || mount(terminal, CONTAINER_ROOT "/dev/console", NULL, MS_BIND, NULL) < 0)
        return fail_call(failure, "cannot make /dev/console");
    return 0;
}

int world_create(int terminal_fd, struct failure *failure)
{
    if (set_names(failure) < 0 || bind_console(terminal_fd, failure) < 0 ||
        mount_of_namespaces(failure) < 0 || change_root(failure) < 0 || set_sysctls(failure) < 0)
        return -1;
    if (!container.privileged && restrict_paths(failure) < 0)
        return -1;
    if (container.read_only && mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
        return fail_call(failure, "cannot make the root read-only");
    return 0;
}

int world_of_guest(struct failure *failure)
{
    if (unshare(CLONE_NEWNS) < 0)
        return fail_call(failure, "cannot make a mount namespace");
    if (mount_kernel("proc", CONTAINER_ROOT "/proc", 0, failure) < 0)
        return -1;
    // The same file system cannot be mounted on itself.
    if (mount(NULL, CONTAINER_ROOT "/sys", NULL, MS_BIND | MS_REMOUNT | KERNEL_FLAGS, NULL) < 0)
        return fail_call(failure, "cannot make /sys writable");
    if (mount("/dev", CONTAINER_ROOT "/dev", NULL, MS_BIND | MS_REC, NULL) < 0)
        return fail_call(failure, "cannot mount /dev");
    if (chdir(CONTAINER_ROOT) < 0 || chroot(".") < 0)
        return fail_call(failure, "cannot change the root");
    return 0;
}
