#include "rooted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

int rooted_open(int root_fd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof how);
    return fd < 0 ? -errno : fd;
}

static int make_in(int parent_fd, const char *name, bool is_folder)
{
    if (is_folder)
        return mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
    int fd = openat(parent_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd >= 0)
        close(fd);
    return fd < 0 && errno != EEXIST ? -errno : 0;
}

int rooted_make(int root_fd, const char *path, bool is_folder)
{
    char part[PATH_MAX];
    int fd = rooted_open(root_fd, path, O_PATH);
    if (fd != -ENOENT)
        return fd;
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/')
        length--;
    if (length == 0 || length >= sizeof part)
        return -ENAMETOOLONG;
    memcpy(part, path, length);
    part[length] = 0;
    char *name = strrchr(part, '/');
    if (name == NULL)
        return -EINVAL;
    *name++ = 0;
    int parent_fd = rooted_make(root_fd, part[0] != 0 ? part : "/", true);
    if (parent_fd < 0)
        return parent_fd;
    int result = make_in(parent_fd, name, is_folder);
    close(parent_fd);
    return result < 0 ? result : rooted_open(root_fd, path, O_PATH);
}

void fd_path(int fd, char path[FD_PATH_BYTES])
{
    snprintf(path, FD_PATH_BYTES, "/proc/self/fd/%d", fd);
}
