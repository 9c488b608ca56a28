// Writes members of a tar archive: ustar with pax records (POSIX.1-2017, pax) where ustar has no
// room.
#pragma once

#include <sys/stat.h>

#include "sink.h"

struct tar_writer {
    struct sink *sink;
    // Files with several names that have been written, by device and inode.
    struct seen {
        dev_t device;
        ino_t inode;
        char *name;
    } * seen;
    size_t seen_count;
    size_t seen_capacity;
};

// A member of any kind but a file with content. `link` is a symbolic link's target, else NULL; `fd`
// has the extended attributes, or is -1.
void tar_write_member(struct tar_writer *writer, const char *name, const struct stat *status,
                      const char *link, int fd);
// A file with its content, or a link to a name it has been written by. 0, or -errno of the file.
int tar_write_file(struct tar_writer *writer, const char *name, const struct stat *status, int fd);
// A file without content or owner: a whiteout.
void tar_write_empty(struct tar_writer *writer, const char *name);
void tar_write_end(struct tar_writer *writer);
