// One mount of FRAME_ASSEMBLE.
#pragma once

#include <stdbool.h>

#include "fields.h"

// Texts are the request's.
struct mount_spec {
    uint64_t type; // enum mount_type
    const char *destination;
    bool read_only;
    const char *share_tag;
    const char *source;
    bool copy_up;
    uint64_t size_bytes;   // 0: half of the memory
    uint64_t size_percent; // of the memory, instead
    uint64_t inodes;       // 0: as many as there are pages in half of the memory
    uint64_t mode;
    uint64_t flags;
    uint64_t port;
    uint64_t user_id;
    uint64_t group_id;
};

int mount_spec_parse(struct bytes fields, struct mount_spec *spec, struct failure *failure);
