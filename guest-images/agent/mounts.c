#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "container.h"
#include "copy_up.h"
#include "mount_spec.h"
#include "protocol.h"
#include "relay.h"
#include "rooted.h"
#include "windows.h"

#define SHARES "/shares"
#define FILES "/files"

// Attaches a file or folder at a place in the container.
static int bind_at(int root_fd, const char *source, const char *destination, bool is_folder,
                   bool read_only, struct failure *failure)
{
    char target[FD_PATH_BYTES];
    int fd = rooted_make(root_fd, destination, is_folder);
    if (fd < 0) {
        errno = -fd;
        return fail_call(failure, "cannot make the mount point %s", destination);
    }
    fd_path(fd, target);
    int result = mount(source, target, NULL, MS_BIND | MS_REC, NULL);
    if (result < 0)
        fail_call(failure, "cannot mount at %s", destination);
    close(fd);
    if (result < 0 || !read_only)
        return result;
    // The path now leads to what has been mounted.
    fd = rooted_open(root_fd, destination, O_PATH);
    if (fd >= 0)
        fd_path(fd, target);
    if (fd < 0 || mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
        result = fail_call(failure, "cannot make %s read-only", destination);
    if (fd >= 0)
        close(fd);
    return result;
}

static void tmpfs_options(const struct mount_spec *spec, char *options, size_t size)
{
    char *end = options + size;
    options += snprintf(options, size, "mode=%o,uid=%u,gid=%u", (unsigned)spec->mode,
                        (unsigned)spec->user_id, (unsigned)spec->group_id);
    if (spec->size_percent != 0)
        options +=
            snprintf(options, (size_t)(end - options), ",size=%u%%", (unsigned)spec->size_percent);
    else if (spec->size_bytes != 0)
        options += snprintf(options, (size_t)(end - options), ",size=%llu",
                            (unsigned long long)spec->size_bytes);
    if (spec->inodes != 0)
        snprintf(options, (size_t)(end - options), ",nr_inodes=%llu",
                 (unsigned long long)spec->inodes);
}

static int mount_tmpfs(int root_fd, const struct mount_spec *spec, struct failure *failure)
{
    char target[FD_PATH_BYTES], options[128];
    tmpfs_options(spec, options, sizeof options);
    int fd = rooted_make(root_fd, spec->destination, true);
    if (fd < 0) {
        errno = -fd;
        return fail_call(failure, "cannot make the mount point %s", spec->destination);
    }
    fd_path(fd, target);
    unsigned long flags = (unsigned long)spec->flags | (spec->read_only ? MS_RDONLY : 0);
    int result = mount("tmpfs", target, "tmpfs", flags, options);
    if (result < 0)
        fail_call(failure, "cannot mount a tmpfs at %s", spec->destination);
    close(fd);
    return result;
}

// A restored machine has its device in a window that was empty before.
static int mount_tag(const char *tag, const char *path, struct failure *failure)
{
    if (mount(tag, path, "virtiofs", 0, NULL) == 0)
        return 0;
    if (windows_bind(failure) < 0)
        return -1;
    if (mount(tag, path, "virtiofs", 0, NULL) < 0)
        return fail_call(failure, "cannot mount the share %s", tag);
    return 0;
}

// Mounts a share where the container does not see it, once.
static int open_share(const char *tag, struct failure *failure)
{
    char path[64];
    if ((size_t)snprintf(path, sizeof path, SHARES "/%s", tag) >= sizeof path)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "a share's tag is too long");
    if (mkdir(path, 0700) == 0 && mount_tag(tag, path, failure) < 0) {
        rmdir(path);
        return -1;
    }
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? fail_call(failure, "cannot open the share %s", tag) : fd;
}

// Copies to an empty volume what the image has in its place, if that is a folder.
static int fill_volume(int root_fd, const struct mount_spec *spec, int share_fd,
                       struct failure *failure)
{
    int image_fd = rooted_open(root_fd, spec->destination, O_RDONLY | O_DIRECTORY);
    if (image_fd < 0)
        return 0;
    int volume_fd = openat(share_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = volume_fd < 0 ? fail_call(failure, "cannot open the share %s", spec->share_tag)
                               : copy_up(image_fd, volume_fd, failure);
    if (volume_fd >= 0)
        close(volume_fd);
    close(image_fd);
    return result;
}

static int mount_share(int root_fd, const struct mount_spec *spec, struct failure *failure)
{
    char source[FD_PATH_BYTES];
    struct stat status;
    int share_fd = open_share(spec->share_tag, failure);
    if (share_fd < 0)
        return -1;
    int fd = rooted_open(share_fd, spec->source[0] != 0 ? spec->source : "/", O_PATH);
    close(share_fd);
    if (fd < 0) {
        errno = -fd;
        return fail_call(failure, "cannot open %s in the share %s", spec->source, spec->share_tag);
    }
    fd_path(fd, source);
    int result = fstat(fd, &status);
    if (result < 0)
        fail_call(failure, "cannot look at the share %s", spec->share_tag);
    else if (spec->copy_up && S_ISDIR(status.st_mode))
        result = fill_volume(root_fd, spec, fd, failure);
    if (result == 0)
        result = bind_at(root_fd, source, spec->destination, S_ISDIR(status.st_mode),
                         spec->read_only, failure);
    close(fd);
    return result;
}

// The socket is made where the container does not see it, and appears at its place like a file.
static int mount_socket(int root_fd, const struct mount_spec *spec, struct failure *failure)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, FILES "/socket-%llu",
             (unsigned long long)spec->port);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        chmod(address.sun_path, (mode_t)spec->mode) < 0 ||
        chown(address.sun_path, (uid_t)spec->user_id, (gid_t)spec->group_id) < 0 ||
        listen(fd, SOMAXCONN) < 0) {
        fail_call(failure, "cannot make the socket %s", spec->destination);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    int result = relay_listen(fd, (uint32_t)spec->port);
    if (result < 0)
        return fail(failure, ERROR_GUEST_FAILED, -result, "cannot serve the socket %s",
                    spec->destination);
    return bind_at(root_fd, address.sun_path, spec->destination, false, false, failure);
}

static int apply(int root_fd, struct bytes fields, struct failure *failure)
{
    struct mount_spec spec;
    if (mount_spec_parse(fields, &spec, failure) < 0)
        return -1;
    switch (spec.type) {
    case MOUNT_SHARE:
        return mount_share(root_fd, &spec, failure);
    case MOUNT_TMPFS:
        return mount_tmpfs(root_fd, &spec, failure);
    case MOUNT_SOCKET:
        return mount_socket(root_fd, &spec, failure);
    default:
        return fail(failure, ERROR_INVALID_REQUEST, 0, "unknown kind of mount");
    }
}

static int write_text(const char *file, const char *text, struct failure *failure)
{
    int fd = open(file, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    size_t length = strlen(text);
    if (fd < 0 || write(fd, text, length) != (ssize_t)length)
        return fail_call(failure, "cannot write %s", file);
    close(fd);
    return 0;
}

int mounts_write_resolv_conf(const char *text, struct failure *failure)
{
    return write_text(FILES "/resolv.conf", text, failure);
}

static int mount_text(int root_fd, const char *file, const char *text, const char *destination,
                      struct failure *failure)
{
    if (write_text(file, text, failure) < 0)
        return -1;
    return bind_at(root_fd, file, destination, false, false, failure);
}

static int mount_network_files(int root_fd, const struct root_spec *spec, struct failure *failure)
{
    char hostname[sizeof container.hostname + 1];
    snprintf(hostname, sizeof hostname, "%s\n", container.hostname);
    if (mount_text(root_fd, FILES "/hostname", hostname, "/etc/hostname", failure) < 0 ||
        mount_text(root_fd, FILES "/hosts", spec->hosts, "/etc/hosts", failure) < 0)
        return -1;
    return mount_text(root_fd, FILES "/resolv.conf", spec->resolv_conf, "/etc/resolv.conf",
                      failure);
}

int mounts_apply(const struct root_spec *spec, struct failure *failure)
{
    int root_fd = open(CONTAINER_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return fail_call(failure, "cannot open the root");
    int result = mount_network_files(root_fd, spec, failure);
    for (size_t i = 0; i < spec->mount_count && result == 0; i++)
        result = apply(root_fd, spec->mounts[i], failure);
    close(root_fd);
    return result;
}
