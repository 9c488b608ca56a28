// Reads the members of a tar archive: ustar, pax and GNU's long names.
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "source.h"

#define TAR_ATTRIBUTES_MAX 64

struct tar_member {
    char type; // enum tar_type
    char name[PATH_MAX];
    char link[PATH_MAX];
    uint64_t size;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    int64_t seconds;
    long nanoseconds;
    unsigned major;
    unsigned minor;
    // Extended attributes: names and values, in `records`.
    struct tar_attribute {
        const char *name;
        const char *value;
        size_t length;
    } attributes[TAR_ATTRIBUTES_MAX];
    size_t attribute_count;
    char *records;
    size_t records_length;
};

// 1: a member, whose content is next in the source; 0: the archive's end; -errno: -EBADMSG if it is
// no tar archive, or the source's.
int tar_next(struct source *source, struct tar_member *member);
// From a member's content to the next header, when `read` bytes of it have been read.
int tar_skip_rest(struct source *source, const struct tar_member *member, uint64_t read);
