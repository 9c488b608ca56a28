// A client of DHCP (RFC 2131) for one lease, which is not renewed: the machine's network is the
// host's.
#pragma once

#include "netlink.h"

struct lease {
    struct address address;
    uint8_t prefix;
    struct address gateway; // length 0: none
    uint16_t mtu;           // 0: none
};

// Waits up to some seconds for a server. 0, or -errno.
int dhcp_ask(unsigned interface, const uint8_t mac[6], struct lease *lease);
// Reads an answer, a packet from its IP header on. The kind of message, or -EBADMSG.
int dhcp_parse(const uint8_t *packet, size_t length, uint32_t transaction, const uint8_t mac[6],
               struct lease *lease, uint32_t *server);
