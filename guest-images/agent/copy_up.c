#include "copy_up.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define DEPTH_MAX 256
#define XATTR_BYTES_MAX 65536
// A call moves no more than this.
#define CHUNK (1 << 30)

static int copy_folder(int from_fd, int to_fd, int depth, struct failure *failure);

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static DIR *open_list(int folder_fd)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? NULL : fdopendir(fd);
}

static bool is_empty(int folder_fd)
{
    DIR *list = open_list(folder_fd);
    struct dirent *entry = NULL;
    while (list != NULL && (entry = readdir(list)) != NULL && is_dot(entry->d_name))
        ;
    if (list != NULL)
        closedir(list);
    return list != NULL && entry == NULL;
}

// Attributes that the target's file system does not take are left out.
static void copy_attributes(int from_fd, int to_fd)
{
    static char names[XATTR_BYTES_MAX], value[XATTR_BYTES_MAX];
    ssize_t length = flistxattr(from_fd, names, sizeof names);
    for (ssize_t i = 0; i < length; i += (ssize_t)strlen(names + i) + 1) {
        ssize_t size = fgetxattr(from_fd, names + i, value, sizeof value);
        if (size >= 0)
            (void)!fsetxattr(to_fd, names + i, value, (size_t)size, 0);
    }
}

static int copy_metadata(int from_fd, int to_fd, const struct stat *status)
{
    struct timespec times[2] = {status->st_atim, status->st_mtim};
    // The mode last: a change of the owner takes set-user-ID away.
    if (fchown(to_fd, status->st_uid, status->st_gid) < 0 ||
        fchmod(to_fd, status->st_mode & 07777) < 0)
        return -1;
    copy_attributes(from_fd, to_fd);
    return futimens(to_fd, times);
}

static int copy_file(int from_folder, int to_folder, const char *name, const struct stat *status)
{
    int from_fd = openat(from_folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int to_fd = openat(to_folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    int result = from_fd < 0 || to_fd < 0 ? -1 : 0;
    ssize_t count = result;
    while (result == 0 && (count = sendfile(to_fd, from_fd, NULL, CHUNK)) > 0)
        ;
    if (count < 0 || copy_metadata(from_fd, to_fd, status) < 0)
        result = -1;
    int error = errno;
    close(from_fd);
    close(to_fd);
    errno = error;
    return result;
}

static int copy_link(int from_folder, int to_folder, const char *name)
{
    char target[PATH_MAX];
    ssize_t length = readlinkat(from_folder, name, target, sizeof target - 1);
    if (length < 0)
        return -1;
    target[length] = 0;
    return symlinkat(target, to_folder, name);
}

static int copy_subfolder(int from_folder, int to_folder, const char *name,
                          const struct stat *status, int depth, struct failure *failure)
{
    int from_fd = openat(from_folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int to_fd = mkdirat(to_folder, name, 0700) < 0
                    ? -1
                    : openat(to_folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int result = -1;
    if (from_fd < 0 || to_fd < 0)
        fail_call(failure, "cannot copy %s to the volume", name);
    else if ((result = copy_folder(from_fd, to_fd, depth + 1, failure)) == 0 &&
             copy_metadata(from_fd, to_fd, status) < 0)
        result = fail_call(failure, "cannot set the owner of %s in the volume", name);
    close(from_fd);
    close(to_fd);
    return result;
}

static int copy_entry(int from_folder, int to_folder, const char *name, int depth,
                      struct failure *failure)
{
    struct stat status;
    if (fstatat(from_folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_call(failure, "cannot look at %s", name);
    if (S_ISDIR(status.st_mode))
        return copy_subfolder(from_folder, to_folder, name, &status, depth, failure);
    int result;
    if (S_ISREG(status.st_mode)) {
        result = copy_file(from_folder, to_folder, name, &status);
    } else {
        result = S_ISLNK(status.st_mode) ? copy_link(from_folder, to_folder, name)
                                         : mknodat(to_folder, name, status.st_mode, status.st_rdev);
        if (result == 0)
            result = fchownat(to_folder, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW);
    }
    return result == 0 ? 0 : fail_call(failure, "cannot copy %s to the volume", name);
}

static int copy_folder(int from_fd, int to_fd, int depth, struct failure *failure)
{
    DIR *list = open_list(from_fd);
    struct dirent *entry;
    int result = 0;
    if (list == NULL || depth > DEPTH_MAX)
        result = fail_call(failure, "cannot list a folder of the image");
    while (result == 0 && (entry = readdir(list)) != NULL) {
        if (!is_dot(entry->d_name))
            result = copy_entry(from_fd, to_fd, entry->d_name, depth, failure);
    }
    if (list != NULL)
        closedir(list);
    return result;
}

int copy_up(int image_fd, int volume_fd, struct failure *failure)
{
    struct stat status;
    if (!is_empty(volume_fd))
        return 0;
    if (copy_folder(image_fd, volume_fd, 0, failure) < 0)
        return -1;
    if (fstat(image_fd, &status) < 0 || copy_metadata(image_fd, volume_fd, &status) < 0)
        return fail_call(failure, "cannot set the owner of the volume");
    return 0;
}
