// Addresses and routes of interfaces, by rtnetlink(7).
#pragma once

#include <stddef.h>
#include <stdint.h>

// An IPv4 (4 bytes) or IPv6 (16 bytes) address.
struct address {
    uint8_t bytes[16];
    uint8_t length;
};

int netlink_open(void);
// 0, or -errno.
int netlink_add_address(int fd, unsigned interface, const struct address *address, uint8_t prefix);
int netlink_add_default_route(int fd, unsigned interface, const struct address *gateway);
