#include "windows.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol.h"

#define SYSFS "/sys"
#define DEVICES SYSFS "/bus/platform/devices"
#define DRIVER SYSFS "/bus/platform/drivers/virtio-mmio"
#define VIRTIO_DEVICES SYSFS "/bus/virtio/devices"
#define MODPROBE "/sbin/modprobe"
// What ACPI's tables call a window of virtio-mmio registers.
#define WINDOW_PREFIX "LNRO0005:"

// The container may have mounted the same file system read-only.
static int mount_sysfs(struct failure *failure)
{
    if (access(DRIVER, F_OK) == 0)
        return 0;
    mkdir(SYSFS, 0755);
    if (mount("sysfs", SYSFS, "sysfs", 0, NULL) < 0 ||
        mount(NULL, SYSFS, NULL, MS_REMOUNT, NULL) < 0)
        return fail_call(failure, "cannot mount " SYSFS);
    return 0;
}

static int write_name(const char *path, const char *name)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t count = write(fd, name, strlen(name));
    int error = errno;
    close(fd);
    errno = error;
    return count < 0 ? -1 : 0;
}

static void load_module(const char *alias)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl(MODPROBE, MODPROBE, "-q", "--", alias, NULL);
        _exit(EXIT_FAILURE);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

// A kernel that has its drivers as modules has only those of the devices that it booted with, and
// asks for no others.
static void load_drivers(void)
{
    DIR *devices = opendir(VIRTIO_DEVICES);
    struct dirent *entry;
    while (devices != NULL && (entry = readdir(devices)) != NULL) {
        char path[PATH_MAX], alias[64];
        snprintf(path, sizeof path, VIRTIO_DEVICES "/%s/driver", entry->d_name);
        if (entry->d_name[0] == '.' || access(path, F_OK) == 0)
            continue;
        snprintf(path, sizeof path, VIRTIO_DEVICES "/%s/modalias", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? -1 : read(fd, alias, sizeof alias - 1);
        if (fd >= 0)
            close(fd);
        if (length <= 0)
            continue;
        alias[length] = 0;
        alias[strcspn(alias, "\n")] = 0;
        load_module(alias);
    }
    if (devices != NULL)
        closedir(devices);
}

// Windows that had no device when the kernel looked have none of its drivers. Which of them has a
// device now is seen by the driver.
int windows_bind(struct failure *failure)
{
    if (mount_sysfs(failure) < 0)
        return -1;
    DIR *devices = opendir(DEVICES);
    struct dirent *entry;
    if (devices == NULL)
        return fail_call(failure, "cannot read " DEVICES);
    while ((entry = readdir(devices)) != NULL) {
        char driver[PATH_MAX];
        if (strncmp(entry->d_name, WINDOW_PREFIX, strlen(WINDOW_PREFIX)) != 0)
            continue;
        snprintf(driver, sizeof driver, DEVICES "/%s/driver", entry->d_name);
        if (access(driver, F_OK) < 0)
            write_name(DRIVER "/bind", entry->d_name);
    }
    closedir(devices);
    load_drivers();
    return 0;
}

// Of a device such as /sys/devices/platform/LNRO0005:07/virtio5, that is LNRO0005:07.
int windows_unbind(const char *interface, struct failure *failure)
{
    char link[PATH_MAX], device[PATH_MAX];
    if (mount_sysfs(failure) < 0)
        return -1;
    snprintf(link, sizeof link, SYSFS "/class/net/%s/device", interface);
    if (realpath(link, device) == NULL)
        return fail_call(failure, "cannot find the device of %s", interface);
    char *end = strrchr(device, '/');
    *end = 0;
    const char *window = strrchr(device, '/') + 1;
    if (strncmp(window, WINDOW_PREFIX, strlen(WINDOW_PREFIX)) != 0)
        return fail(failure, ERROR_GUEST_FAILED, 0, "%s cannot be removed", interface);
    if (write_name(DRIVER "/unbind", window) < 0)
        return fail_call(failure, "cannot let go of %s", interface);
    return 0;
}
