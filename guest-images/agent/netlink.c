#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#define REQUEST_BYTES 128

struct request {
    struct nlmsghdr header;
    uint8_t body[REQUEST_BYTES];
};

int netlink_open(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return fd < 0 ? -errno : fd;
}

static void begin(struct request *request, uint16_t type, const void *body, size_t length)
{
    memset(request, 0, sizeof *request);
    request->header.nlmsg_type = type;
    request->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(length);
    memcpy(request->body, body, length);
}

static void add_attribute(struct request *request, uint16_t type, const void *value, size_t length)
{
    struct rtattr *attribute =
        (struct rtattr *)((uint8_t *)request + NLMSG_ALIGN(request->header.nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = (uint16_t)RTA_LENGTH(length);
    memcpy(RTA_DATA(attribute), value, length);
    request->header.nlmsg_len =
        NLMSG_ALIGN(request->header.nlmsg_len) + (uint32_t)RTA_SPACE(length);
}

static int exchange(int fd, const struct request *request)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        uint8_t rest[512];
    } answer;
    if (send(fd, request, request->header.nlmsg_len, 0) < 0)
        return -errno;
    ssize_t count = recv(fd, &answer, sizeof answer, 0);
    if (count < 0)
        return -errno;
    return answer.header.nlmsg_type == NLMSG_ERROR ? answer.error.error : -EPROTO;
}

static uint8_t family_of(const struct address *address)
{
    return address->length == 4 ? AF_INET : AF_INET6;
}

int netlink_add_address(int fd, unsigned interface, const struct address *address, uint8_t prefix)
{
    struct request request;
    struct ifaddrmsg body = {
        .ifa_family = family_of(address),
        .ifa_prefixlen = prefix,
        // The address is the caller's choice: no seconds of looking whether others have it.
        .ifa_flags = address->length == 16 ? IFA_F_NODAD : 0,
        .ifa_index = interface,
    };
    begin(&request, RTM_NEWADDR, &body, sizeof body);
    add_attribute(&request, IFA_LOCAL, address->bytes, address->length);
    add_attribute(&request, IFA_ADDRESS, address->bytes, address->length);
    if (address->length == 4 && prefix < 31) {
        uint8_t broadcast[4];
        for (int i = 0; i < 4; i++) {
            int bits = prefix - 8 * i;
            uint8_t host = bits >= 8 ? 0 : bits <= 0 ? 0xff : (uint8_t)(0xff >> bits);
            broadcast[i] = address->bytes[i] | host;
        }
        add_attribute(&request, IFA_BROADCAST, broadcast, sizeof broadcast);
    }
    return exchange(fd, &request);
}

int netlink_add_default_route(int fd, unsigned interface, const struct address *gateway)
{
    struct request request;
    struct rtmsg body = {
        .rtm_family = family_of(gateway),
        .rtm_table = RT_TABLE_MAIN,
        .rtm_protocol = RTPROT_BOOT,
        .rtm_scope = RT_SCOPE_UNIVERSE,
        .rtm_type = RTN_UNICAST,
        .rtm_flags = RTNH_F_ONLINK,
    };
    begin(&request, RTM_NEWROUTE, &body, sizeof body);
    add_attribute(&request, RTA_GATEWAY, gateway->bytes, gateway->length);
    add_attribute(&request, RTA_OIF, &interface, sizeof interface);
    return exchange(fd, &request);
}
