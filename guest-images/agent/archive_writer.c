#include "archive_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "file_content.h"
#include "path_request.h"
#include "program.h"
#include "protocol.h"
#include "tar_format.h"
#include "tar_reader.h"

// Times of folders, which are set when nothing is written into them any more.
struct folder_times {
    struct folder_time {
        char *path;
        struct timespec time;
    } * items;
    size_t count;
    size_t capacity;
};

static struct tar_member member;
static struct folder_times folder_times;

static int fail_member(const char *path, struct failure *failure)
{
    int number = errno;
    return fail(failure, ERROR_GUEST_FAILED, number, "cannot unpack %s: %s", path,
                error_text(number));
}

// A member's name relative to the folder: ".." does not lead above it. "." is the folder itself.
static void clean_name(const char *name, char path[PATH_MAX])
{
    size_t length = 0;
    while (*name != 0) {
        size_t part = strcspn(name, "/");
        if (part == 2 && name[0] == '.' && name[1] == '.') {
            while (length > 0 && path[--length] != '/')
                ;
        } else if (part > 0 && !(part == 1 && *name == '.')) {
            if (length > 0)
                path[length++] = '/';
            memcpy(path + length, name, part);
            length += part;
        }
        name += part;
        name += *name == '/';
    }
    if (length == 0)
        path[length++] = '.';
    path[length] = 0;
}

static void make_parents(char *path)
{
    for (char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0755);
        *slash = '/';
    }
}

static int remove_tree(int folder_fd, const char *name)
{
    if (unlinkat(folder_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    while (list != NULL && (entry = readdir(list)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            remove_tree(fd, entry->d_name) < 0) {
            closedir(list);
            return -1;
        }
    }
    if (list != NULL)
        closedir(list);
    return unlinkat(folder_fd, name, AT_REMOVEDIR);
}

// Makes way for the member: a folder stays if the member is one.
static int make_way(const char *path, const struct path_request *request, struct failure *failure)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        return 0;
    bool is_folder = S_ISDIR(status.st_mode), becomes_folder = member.type == TAR_FOLDER;
    if (is_folder && becomes_folder)
        return 0;
    if (request->no_overwrite_directory && is_folder != becomes_folder)
        return fail(failure, ERROR_WRONG_PATH_TYPE, is_folder ? EISDIR : ENOTDIR,
                    is_folder ? "cannot overwrite directory %s with non-directory"
                              : "cannot overwrite non-directory %s with directory",
                    path);
    return remove_tree(AT_FDCWD, path) < 0 ? fail_member(path, failure) : 0;
}

static int write_content(struct source *source, int fd, struct failure *failure)
{
    int result = file_content_write(fd, source, member.size);
    if (result == SOURCE_FAILED)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "the archive is cut off");
    errno = -result;
    return result < 0 ? fail_member(member.name, failure) : 0;
}

static int make_node(const char *path, mode_t type)
{
    return mknod(path, type | 0600, makedev(member.major, member.minor));
}

// Makes what the member is; a file with its content. Adds to `read` what has been read of it.
static int make_member(struct source *source, const char *path, uint64_t *read,
                       struct failure *failure)
{
    char target[PATH_MAX];
    int fd, result;
    switch (member.type) {
    case TAR_FILE_OLD:
    case TAR_FILE:
    case TAR_CONTIGUOUS:
        fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
            return fail_member(path, failure);
        result = write_content(source, fd, failure);
        *read = member.size;
        close(fd);
        return result;
    case TAR_FOLDER:
        result = strcmp(path, ".") == 0 || mkdir(path, 0755) == 0 || errno == EEXIST ? 0 : -1;
        break;
    case TAR_SYMLINK:
        result = symlink(member.link, path);
        break;
    case TAR_HARD_LINK:
        clean_name(member.link, target);
        result = link(target, path);
        break;
    case TAR_CHARACTER:
        result = make_node(path, S_IFCHR);
        break;
    case TAR_BLOCK_DEVICE:
        result = make_node(path, S_IFBLK);
        break;
    case TAR_FIFO:
        result = mkfifo(path, 0600);
        break;
    default:
        return fail(failure, ERROR_INVALID_REQUEST, 0, "the archive has a member of type %d",
                    member.type);
    }
    return result < 0 ? fail_member(path, failure) : 0;
}

static void remember_time(const char *path, struct timespec time)
{
    if (folder_times.count == folder_times.capacity) {
        size_t capacity = folder_times.capacity * 2 + 64;
        struct folder_time *items = realloc(folder_times.items, capacity * sizeof *items);
        if (items == NULL)
            return;
        folder_times.items = items;
        folder_times.capacity = capacity;
    }
    char *copy = strdup(path);
    if (copy != NULL)
        folder_times.items[folder_times.count++] = (struct folder_time){copy, time};
}

static int set_metadata(const char *path, const struct path_request *request,
                        struct failure *failure)
{
    struct timespec time = {member.seconds, member.nanoseconds};
    struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, time};
    uid_t uid = request->keep_owners ? member.uid : 0;
    gid_t gid = request->keep_owners ? member.gid : 0;
    if (member.type == TAR_HARD_LINK)
        return 0;
    if (lchown(path, uid, gid) < 0)
        return fail_member(path, failure);
    for (size_t i = 0; i < member.attribute_count; i++) {
        const struct tar_attribute *attribute = &member.attributes[i];
        // File systems differ in what they take.
        (void)!lsetxattr(path, attribute->name, attribute->value, attribute->length, 0);
    }
    if (member.type == TAR_SYMLINK)
        return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0
                   ? fail_member(path, failure)
                   : 0;
    if (chmod(path, member.mode) < 0)
        return fail_member(path, failure);
    if (member.type == TAR_FOLDER)
        remember_time(path, time);
    else if (utimensat(AT_FDCWD, path, times, 0) < 0)
        return fail_member(path, failure);
    return 0;
}

static int unpack_member(struct source *source, const struct path_request *request,
                         struct failure *failure)
{
    char path[PATH_MAX];
    uint64_t read = 0;
    clean_name(member.name, path);
    bool has_content =
        member.type == TAR_FILE || member.type == TAR_FILE_OLD || member.type == TAR_CONTIGUOUS;
    // Others have a size only in name.
    if (!has_content && member.type != TAR_FOLDER)
        member.size = 0;
    if (strcmp(path, ".") == 0 && member.type != TAR_FOLDER)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "the archive has a member without a name");
    make_parents(path);
    if (make_way(path, request, failure) < 0 || make_member(source, path, &read, failure) < 0 ||
        set_metadata(path, request, failure) < 0)
        return -1;
    if (tar_skip_rest(source, &member, read) < 0)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "the archive is cut off");
    return 0;
}

static void set_folder_times(void)
{
    // From the last to the first, as a folder comes before what is in it.
    for (size_t i = folder_times.count; i-- > 0;) {
        struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, folder_times.items[i].time};
        utimensat(AT_FDCWD, folder_times.items[i].path, times, AT_SYMLINK_NOFOLLOW);
    }
}

int archive_write(int fd, struct bytes fields, struct message *reply, struct failure *failure)
{
    struct path_request request;
    struct source source = {.fd = fd};
    int more;
    (void)reply;
    if (path_request_parse(fields, &request, failure) < 0 || enter_container_root(failure) < 0)
        return -1;
    if (chdir(request.path) < 0)
        return fail_path(request.path, failure);
    umask(0);
    while ((more = tar_next(&source, &member)) > 0) {
        if (unpack_member(&source, &request, failure) < 0)
            return -1;
    }
    set_folder_times();
    if (more < 0 || source_drain(&source) < 0)
        return fail(failure, ERROR_INVALID_REQUEST, -more, "the archive is no tar archive");
    return 0;
}
