// The addresses that servers of the container may listen on.
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define OWN_ADDRESSES_MAX 17

struct own_address {
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    };
    socklen_t length;
};

// The last one is the loopback address. Those of IPv6 have no link-local ones.
struct own_addresses {
    struct own_address list[OWN_ADDRESSES_MAX];
    size_t count;
};

void own_addresses_ipv4(struct own_addresses *addresses, uint16_t port);
void own_addresses_ipv6(struct own_addresses *addresses, uint16_t port);

// Adds the global addresses of a text like /proc/net/if_inet6, as far as there is room.
void own_addresses_parse(struct own_addresses *addresses, const char *text, uint16_t port);
