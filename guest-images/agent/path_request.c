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

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct path_request *request = target;
    const char *path;
    switch (field->tag) {
    case PATH_PATH:
        return field_text(field, &path, failure) < 0 ? -1 : clean_path(path, request, failure);
    case PATH_NO_OVERWRITE_DIRECTORY:
        return field_flag(field, &request->no_overwrite_directory, failure);
    case PATH_KEEP_OWNERS:
        return field_flag(field, &request->keep_owners, failure);
    default:
        return field_unknown(field, "a path", failure);
    }
}

int path_request_parse(struct bytes fields, struct path_request *request, struct failure *failure)
{
    *request = (struct path_request){.path = "/"};
    return fields_take(fields, parse_field, request, failure);
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
