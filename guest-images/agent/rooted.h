// Paths inside a folder that is the root for them: neither ".." nor links lead out of it.
#pragma once

#include <stdbool.h>

// openat2(2) with RESOLVE_IN_ROOT. A descriptor, or -errno.
int rooted_open(int root_fd, const char *path, int flags);
// The same with O_PATH, after making what is missing: folders, and at the end a folder or a file.
int rooted_make(int root_fd, const char *path, bool is_folder);
// A path by which system calls that take none but paths reach an open file.
#define FD_PATH_BYTES 32
void fd_path(int fd, char path[FD_PATH_BYTES]);
