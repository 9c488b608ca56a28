#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive.h"
#include "container.h"
#include "overlay.h"
#include "protocol.h"
#include "sink.h"

#define DEPTH_MAX 1000

// The same folder in the upper and in the lower folders; -1: it is not there.
struct folders {
    int upper_fd;
    int base_fd;
    int image_fd;
};

struct comparison {
    struct sink sink;
    char path[PATH_MAX];
    size_t length;
};

static void compare(struct comparison *comparison, struct folders folders, int depth);

static void report(struct comparison *comparison, char kind)
{
    sink_write(&comparison->sink, &kind, 1);
    sink_write(&comparison->sink, comparison->path, comparison->length + 1);
}

static bool has_entry(int folder_fd, const char *name, struct stat *status)
{
    return folder_fd >= 0 && fstatat(folder_fd, name, status, AT_SYMLINK_NOFOLLOW) == 0;
}

static int open_folder(int folder_fd, const char *name)
{
    if (folder_fd < 0)
        return -1;
    return openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

// What the container saw before its writes.
static bool find_lower(struct folders folders, const char *name, struct stat *status)
{
    return has_entry(folders.base_fd, name, status) || has_entry(folders.image_fd, name, status);
}

static bool is_same_folder(const struct stat *upper, const struct stat *lower)
{
    return S_ISDIR(lower->st_mode) && upper->st_mode == lower->st_mode &&
           upper->st_uid == lower->st_uid && upper->st_gid == lower->st_gid &&
           upper->st_mtim.tv_sec == lower->st_mtim.tv_sec &&
           upper->st_mtim.tv_nsec == lower->st_mtim.tv_nsec;
}

static void compare_entry(struct comparison *comparison, struct folders folders, const char *name,
                          int depth)
{
    struct stat upper, lower;
    if (fstatat(folders.upper_fd, name, &upper, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    bool has_lower = find_lower(folders, name, &lower);
    if (overlay_is_whiteout(&upper)) {
        if (has_lower)
            report(comparison, 'D');
        return;
    }
    if (!S_ISDIR(upper.st_mode)) {
        report(comparison, has_lower ? 'C' : 'A');
        return;
    }
    struct folders inner = {open_folder(folders.upper_fd, name), -1, -1};
    if (inner.upper_fd < 0 || depth > DEPTH_MAX) {
        close(inner.upper_fd);
        return;
    }
    if (!has_lower || !is_same_folder(&upper, &lower))
        report(comparison, has_lower ? 'C' : 'A');
    if (!overlay_is_opaque(inner.upper_fd)) {
        inner.base_fd = open_folder(folders.base_fd, name);
        inner.image_fd = open_folder(folders.image_fd, name);
    }
    compare(comparison, inner, depth);
}

// Compares what the folders have, and closes them.
static void compare(struct comparison *comparison, struct folders folders, int depth)
{
    DIR *list = fdopendir(folders.upper_fd);
    struct dirent *entry;
    size_t before = comparison->length;
    while (list != NULL && comparison->sink.error == 0 && (entry = readdir(list)) != NULL) {
        int room = (int)(sizeof comparison->path - before);
        int length = snprintf(comparison->path + before, (size_t)room, "/%s", entry->d_name);
        if (length >= room || strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        comparison->length = before + (size_t)length;
        compare_entry(comparison, folders, entry->d_name, depth + 1);
    }
    comparison->length = before;
    comparison->path[before] = 0;
    if (list != NULL)
        closedir(list);
    close(folders.base_fd);
    close(folders.image_fd);
}

int archive_changes(int fd, struct bytes request, struct message *reply, struct failure *failure)
{
    static struct comparison comparison;
    (void)request;
    (void)reply;
    if (!container.assembled)
        return fail(failure, ERROR_WRONG_STATE, 0, "the container has no root yet");
    struct folders folders = {
        open(OVERLAY_UPPER, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        open(OVERLAY_BASE, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        open(OVERLAY_IMAGE, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
    };
    if (folders.upper_fd < 0)
        return fail_call(failure, "cannot open the writable layer");
    comparison.sink.fd = fd;
    compare(&comparison, folders, 0);
    sink_end(&comparison.sink);
    return 0;
}
