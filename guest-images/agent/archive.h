// Archives of the container's files for the host. Each runs in a worker.
#pragma once

#include "fields.h"
#include "message.h"

// FRAME_READ_ARCHIVE, FRAME_UPPER_ARCHIVE, FRAME_ROOT_ARCHIVE: a tar archive in frames of data.
int archive_read(int fd, struct bytes request, struct message *reply, struct failure *failure);
int archive_upper(int fd, struct bytes request, struct message *reply, struct failure *failure);
int archive_root(int fd, struct bytes request, struct message *reply, struct failure *failure);
// FRAME_CHANGES: for each path that differs from the image a letter (A, C, D), the path and a NUL.
int archive_changes(int fd, struct bytes request, struct message *reply, struct failure *failure);
// FRAME_PATH_STAT
int path_stat(int fd, struct bytes request, struct message *reply, struct failure *failure);
