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

// As the kernel follows.
#define LINKS_MAX 40

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

static int make(int root_fd, const char *path, bool is_folder, int links_left);

// `path` is a link that leads nowhere: makes what it names.
static int make_target(int root_fd, int parent_fd, const char *parent, const char *name,
                       bool is_folder, int links_left)
{
    char target[PATH_MAX], path[2 * PATH_MAX];
    ssize_t length = readlinkat(parent_fd, name, target, sizeof target - 1);
    if (length < 0)
        return -errno;
    if (links_left == 0)
        return -ELOOP;
    target[length] = 0;
    // The root is no link, so a path of the parent and the target stays in it as well.
    if (target[0] == '/')
        return make(root_fd, target, is_folder, links_left - 1);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", parent, target) >= PATH_MAX)
        return -ENAMETOOLONG;
    return make(root_fd, path, is_folder, links_left - 1);
}

static int make(int root_fd, const char *path, bool is_folder, int links_left)
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
    int parent_fd = make(root_fd, part[0] != 0 ? part : "/", true, links_left);
    if (parent_fd < 0)
        return parent_fd;
    int result = make_in(parent_fd, name, is_folder);
    if (result == 0)
        result = rooted_open(root_fd, path, O_PATH);
    if (result == -ENOENT)
        result = make_target(root_fd, parent_fd, part, name, is_folder, links_left);
    close(parent_fd);
    return result;
}

int rooted_make(int root_fd, const char *path, bool is_folder)
{
    return make(root_fd, path, is_folder, LINKS_MAX);
}

void fd_path(int fd, char path[FD_PATH_BYTES])
{
    snprintf(path, FD_PATH_BYTES, "/proc/self/fd/%d", fd);
}
