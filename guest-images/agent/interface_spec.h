// One interface of FRAME_ASSEMBLE.
#pragma once

#include <stdbool.h>

#include "fields.h"
#include "netlink.h"

#define ADDRESSES_MAX 16

// The name is the request's.
struct interface_spec {
    uint8_t mac[6];
    bool has_device_mac; // else it is `mac`
    uint8_t device_mac[6];
    const char *name;
    bool dhcp;
    uint64_t mtu; // 0: what it has
    struct address addresses[ADDRESSES_MAX];
    uint8_t prefixes[ADDRESSES_MAX];
    size_t address_count;
    struct address gateways[ADDRESSES_MAX];
    size_t gateway_count;
};

int interface_spec_parse(struct bytes fields, struct interface_spec *spec, struct failure *failure);
