// Requests that name a path of the container.
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "fields.h"

struct path_request {
    // Absolute, without "." parts and double slashes.
    char path[PATH_MAX];
    // Ends with a slash or "/.": a link at its end is followed.
    bool follow;
    bool no_overwrite_directory;
    bool keep_owners;
};

int path_request_parse(struct bytes fields, struct path_request *request, struct failure *failure);
// The last part; "" for the root.
const char *path_request_name(const struct path_request *request);
// Makes the container's root the root of this process, so that no path and no link leads out of it.
int enter_container_root(struct failure *failure);
// An error of a path: ERROR_PATH_NOT_FOUND, ERROR_WRONG_PATH_TYPE or ERROR_GUEST_FAILED.
int fail_path(const char *path, struct failure *failure);
