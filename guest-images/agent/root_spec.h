// The fields of FRAME_ASSEMBLE, besides those that are kept in `container`.
#pragma once

#include <stdbool.h>

#include "cgroup.h"
#include "fields.h"
#include "name_servers.h"

#define MOUNTS_MAX 128
#define INTERFACES_MAX 16
#define PUBLISHED_PORTS_MAX 65535

struct root_spec {
    uint64_t metadata_bytes;
    bool writable_memory;
    const char *hosts;
    const char *resolv_conf;
    uint64_t shm_bytes;
    struct limits limits;
    struct bytes mounts[MOUNTS_MAX];
    size_t mount_count;
    struct bytes interfaces[INTERFACES_MAX];
    size_t interface_count;
    bool has_names;
    struct name_servers names;
    uint8_t published_ports[PUBLISHED_PORTS_MAX / 8 + 1]; // a bit each
};

// Texts are the request's; what is kept in `container` is copied.
int root_spec_parse(struct bytes request, struct root_spec *spec, struct failure *failure);
