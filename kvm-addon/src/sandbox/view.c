#include "view.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where the new root is while it is being made: a folder that every system has, and in which there
 * is nothing that the process needs. */
#define ROOT "/proc"

/* Makes the folders of a path in the new root, all of it or all but its last part. */
static int folders_make(const char *path, bool whole)
{
    char target[sizeof ROOT + PATH_MAX];
    if (path[0] != '/' || strlen(path) >= PATH_MAX)
        return -EINVAL;
    int length = snprintf(target, sizeof target, ROOT "%s", path);
    for (int i = sizeof ROOT; i < length; i++) {
        if (target[i] != '/')
            continue;
        target[i] = 0;
        if (mkdir(target, 0755) < 0 && errno != EEXIST)
            return -errno;
        target[i] = '/';
    }
    return whole && mkdir(target, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int path_show(const char *path)
{
    char target[sizeof ROOT + PATH_MAX];
    struct stat status;
    if (stat(path, &status) < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
    bool is_folder = S_ISDIR(status.st_mode);
    int error = folders_make(path, is_folder);
    if (error < 0)
        return error;
    snprintf(target, sizeof target, ROOT "%s", path);
    if (!is_folder) {
        int fd = open(target, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST)
            return -errno;
        if (fd >= 0)
            close(fd);
    }
    return mount(path, target, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

/* The old root is on top of the new one after pivot_root(2), and then goes. */
static int root_change(void)
{
    if (mount(NULL, ROOT, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) <
            0 ||
        chdir(ROOT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return -errno;
    return chdir("/") < 0 ? -errno : 0;
}

int view_begin(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tsvm", ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755") < 0)
        return -errno;
    return 0;
}

int view_finish(struct view *view, const struct sandbox_path *paths, size_t count)
{
    if (!getcwd(view->cwd, sizeof view->cwd) || view->cwd[0] != '/')
        view->cwd[0] = 0;
    for (size_t i = 0; i < count; i++) {
        /* Its other contents are none of this process's business. */
        int error = paths[i].access == SANDBOX_EMPTY_FOLDERS ? 0 : path_show(paths[i].path);
        if (error < 0)
            return error;
    }
    int error = view->cwd[0] ? folders_make(view->cwd, true) : 0;
    return error < 0 ? error : root_change();
}

int view_enter(const struct view *view)
{
    if (view->fd < 0)
        return 0;
    /* Threads share their root folder until then. */
    if (unshare(CLONE_FS) < 0 || setns(view->fd, CLONE_NEWNS) < 0)
        return -errno;
    if (view->cwd[0] && chdir(view->cwd) < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
    return 0;
}
