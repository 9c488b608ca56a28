#include "archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "container.h"
#include "overlay.h"
#include "path_request.h"
#include "protocol.h"
#include "tar_writer.h"

// Deeper folders are left out: each needs an open file.
#define DEPTH_MAX 1000
#define PLAIN "/plain"

// A walk over a tree that goes into an archive.
struct walk {
    struct tar_writer writer;
    // Whiteouts and opaque folders of an overlay's upper folder become those of OCI.
    bool is_layer;
    // The current member's name.
    char name[PATH_MAX];
    size_t length;
};

static void walk_folder(struct walk *walk, int folder_fd, int depth);

// Appends a part to the name. False if it is too long; undone by cutting it to the length before.
static bool enter_name(struct walk *walk, const char *part)
{
    size_t length = strlen(part);
    if (walk->length + length + 2 > sizeof walk->name)
        return false;
    memcpy(walk->name + walk->length, part, length + 1);
    walk->length += length;
    return true;
}

static void leave_name(struct walk *walk, size_t length)
{
    walk->length = length;
    walk->name[length] = 0;
}

static void write_whiteout(struct walk *walk, const char *part)
{
    size_t before = walk->length;
    if (enter_name(walk, OCI_WHITEOUT_PREFIX) && enter_name(walk, part))
        tar_write_empty(&walk->writer, walk->name);
    leave_name(walk, before);
}

static void add_folder(struct walk *walk, int folder_fd, const char *part,
                       const struct stat *status, int depth)
{
    size_t before = walk->length;
    int fd = openat(folder_fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || depth > DEPTH_MAX || !enter_name(walk, part) || !enter_name(walk, "/")) {
        if (fd >= 0)
            close(fd);
        leave_name(walk, before);
        return;
    }
    tar_write_member(&walk->writer, walk->name, status, NULL, fd);
    if (walk->is_layer && overlay_is_opaque(fd))
        write_whiteout(walk, OCI_OPAQUE);
    walk_folder(walk, fd, depth);
    leave_name(walk, before);
}

static void add_file(struct walk *walk, int folder_fd, const char *part, const struct stat *status)
{
    struct stat opened;
    int fd = openat(folder_fd, part, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    (void)status;
    // What it is may have changed since it was looked at.
    if (fd >= 0 && fstat(fd, &opened) == 0 && S_ISREG(opened.st_mode))
        tar_write_file(&walk->writer, walk->name, &opened, fd);
    if (fd >= 0)
        close(fd);
}

static void add_other(struct walk *walk, int folder_fd, const char *part, const struct stat *status)
{
    char target[PATH_MAX] = "";
    if (S_ISSOCK(status->st_mode)) // tar has no sockets
        return;
    if (S_ISLNK(status->st_mode)) {
        ssize_t length = readlinkat(folder_fd, part, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
    }
    tar_write_member(&walk->writer, walk->name, status, target, -1);
}

static void add_entry(struct walk *walk, int folder_fd, const char *part, int depth)
{
    struct stat status;
    size_t before = walk->length;
    if (fstatat(folder_fd, part, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (walk->is_layer && overlay_is_whiteout(&status)) {
        write_whiteout(walk, part);
        return;
    }
    if (S_ISDIR(status.st_mode)) {
        add_folder(walk, folder_fd, part, &status, depth);
        return;
    }
    if (enter_name(walk, part)) {
        if (S_ISREG(status.st_mode))
            add_file(walk, folder_fd, part, &status);
        else
            add_other(walk, folder_fd, part, &status);
    }
    leave_name(walk, before);
}

// Adds what a folder has. Closes its descriptor.
static void walk_folder(struct walk *walk, int folder_fd, int depth)
{
    DIR *list = fdopendir(folder_fd);
    struct dirent *entry;
    if (list == NULL) {
        close(folder_fd);
        return;
    }
    while (walk->writer.sink->error == 0 && (entry = readdir(list)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            add_entry(walk, folder_fd, entry->d_name, depth + 1);
    }
    closedir(list);
}

static int finish(struct walk *walk, struct failure *failure)
{
    struct sink *sink = walk->writer.sink;
    tar_write_end(&walk->writer);
    sink_end(sink);
    return sink->error == 0 ? 0
                            : fail(failure, ERROR_GUEST_FAILED, -sink->error, "the host has gone");
}

// A worker has one walk, whose buffers are too large for the stack.
static struct walk *begin(int fd)
{
    static struct walk walk;
    static struct sink sink;
    sink.fd = fd;
    walk.writer.sink = &sink;
    return &walk;
}

int archive_read(int fd, struct bytes fields, struct message *reply, struct failure *failure)
{
    struct path_request request;
    struct stat status;
    struct walk *walk = begin(fd);
    (void)reply;
    if (path_request_parse(fields, &request, failure) < 0 || enter_container_root(failure) < 0)
        return -1;
    const char *name = path_request_name(&request);
    if ((request.follow ? stat : lstat)(request.path, &status) < 0)
        return fail_path(request.path, failure);
    if (S_ISDIR(status.st_mode)) {
        int folder_fd = open(request.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder_fd < 0)
            return fail_path(request.path, failure);
        enter_name(walk, *name != 0 ? name : ".");
        enter_name(walk, "/");
        tar_write_member(&walk->writer, walk->name, &status, NULL, folder_fd);
        walk_folder(walk, folder_fd, 0);
    } else {
        char parent[PATH_MAX];
        snprintf(parent, sizeof parent, "%.*s", (int)(name - request.path), request.path);
        int parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent_fd < 0)
            return fail_path(request.path, failure);
        add_entry(walk, parent_fd, name, 0);
        close(parent_fd);
    }
    return finish(walk, failure);
}

static int archive_tree(struct walk *walk, const char *path, struct failure *failure)
{
    int folder_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0)
        return fail_call(failure, "cannot open %s", path);
    walk_folder(walk, folder_fd, 0);
    return finish(walk, failure);
}

int archive_upper(int fd, struct bytes request, struct message *reply, struct failure *failure)
{
    struct walk *walk = begin(fd);
    (void)request;
    (void)reply;
    if (!container.assembled)
        return fail(failure, ERROR_WRONG_STATE, 0, "the container has no root yet");
    walk->is_layer = true;
    return archive_tree(walk, OVERLAY_UPPER, failure);
}

int archive_root(int fd, struct bytes request, struct message *reply, struct failure *failure)
{
    struct walk *walk = begin(fd);
    (void)request;
    (void)reply;
    if (!container.assembled)
        return fail(failure, ERROR_WRONG_STATE, 0, "the container has no root yet");
    // Another mount of the root has nothing mounted in it.
    mkdir(PLAIN, 0700);
    if (unshare(CLONE_NEWNS) < 0 || mount(CONTAINER_ROOT, PLAIN, NULL, MS_BIND, NULL) < 0)
        return fail_call(failure, "cannot mount the root");
    return archive_tree(walk, PLAIN, failure);
}

int path_stat(int fd, struct bytes fields, struct message *reply, struct failure *failure)
{
    struct path_request request;
    struct stat status;
    char target[PATH_MAX] = "";
    (void)fd;
    if (path_request_parse(fields, &request, failure) < 0 || enter_container_root(failure) < 0)
        return -1;
    const char *name = path_request_name(&request);
    if ((request.follow ? stat : lstat)(request.path, &status) < 0)
        return fail_path(request.path, failure);
    if (S_ISLNK(status.st_mode) && realpath(request.path, target) == NULL) {
        // It leads nowhere: what it says.
        ssize_t length = readlink(request.path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
    }
    message_text(reply, PATH_STAT_NAME, *name != 0 ? name : "/");
    message_number(reply, PATH_STAT_SIZE, (uint64_t)status.st_size);
    message_number(reply, PATH_STAT_MODE, status.st_mode);
    message_number(reply, PATH_STAT_MODIFIED_NS,
                   (uint64_t)status.st_mtim.tv_sec * 1000000000 + (uint64_t)status.st_mtim.tv_nsec);
    message_number(reply, PATH_STAT_USER_ID, status.st_uid);
    message_number(reply, PATH_STAT_GROUP_ID, status.st_gid);
    message_text(reply, PATH_STAT_LINK_TARGET, target);
    return 0;
}
