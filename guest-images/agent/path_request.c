#include "path_request.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "container.h"
#include "program.h"
#include "protocol.h"

// Copies a path without empty and "." parts; ".." stays, and cannot leave the root.
static int clean_path(const char *path, struct path_request *request, struct failure *failure)
{
    char *end = request->path;
    size_t length = strlen(path);
    if (length >= sizeof request->path - 1)
        return fail(failure, ERROR_INVALID_REQUEST, ENAMETOOLONG, "the path is too long");
    request->follow = length > 0 && path[length - 1] == '/';
    while (*path != 0) {
        size_t part = strcspn(path, "/");
        if (part == 1 && *path == '.') {
            request->follow = path[1] == 0;
        } else if (part > 0) {
            *end++ = '/';
            memcpy(end, path, part);
            end += part;
        }
        path += part;
        path += *path == '/';
    }
    if (end == request->path)
        *end++ = '/';
    *end = 0;
    return 0;
}

int path_request_parse(struct bytes fields, struct path_request *request, struct failure *failure)
{
    struct field field;
    const char *path = "";
    int more;
    *request = (struct path_request){0};
    while ((more = fields_next(&fields, &field)) > 0) {
        int result;
        if (field.tag == PATH_PATH)
            result = field_text(&field, &path, failure);
        else if (field.tag == PATH_NO_OVERWRITE_DIRECTORY)
            result = field_flag(&field, &request->no_overwrite_directory, failure);
        else if (field.tag == PATH_KEEP_OWNERS)
            result = field_flag(&field, &request->keep_owners, failure);
        else
            result = field_unknown(&field, "a path", failure);
        if (result < 0)
            return -1;
    }
    return more < 0 ? fields_broken(failure) : clean_path(path, request, failure);
}

const char *path_request_name(const struct path_request *request)
{
    return strrchr(request->path, '/') + 1;
}

int enter_container_root(struct failure *failure)
{
    if (!container.assembled)
        return fail(failure, ERROR_WRONG_STATE, 0, "the container has no root yet");
    if (chroot(CONTAINER_ROOT) < 0 || chdir("/") < 0)
        return fail_call(failure, "cannot enter the container's root");
    return 0;
}

int fail_path(const char *path, struct failure *failure)
{
    int number = errno;
    uint8_t code = number == ENOENT                        ? ERROR_PATH_NOT_FOUND
                   : number == ENOTDIR || number == EISDIR ? ERROR_WRONG_PATH_TYPE
                                                           : ERROR_GUEST_FAILED;
    return fail(failure, code, number, "%s: %s", path, error_text(number));
}
