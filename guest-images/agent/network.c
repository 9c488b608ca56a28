#include "network.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dhcp.h"
#include "interface_spec.h"
#include "netlink.h"
#include "protocol.h"
#include "windows.h"

// How often interfaces may have come and gone.
#define INDEX_MAX 4096

// What an interface is set up with.
struct tools {
    int control_fd; // for ioctl(2)
    int netlink_fd;
};

static int set_flags(const struct tools *tools, const char *name, short flags)
{
    struct ifreq request = {.ifr_flags = flags};
    strcpy(request.ifr_name, name);
    return ioctl(tools->control_fd, SIOCSIFFLAGS, &request);
}

static unsigned find_interface(const struct tools *tools, const uint8_t mac[6], char name[IFNAMSIZ])
{
    for (int index = 1; index < INDEX_MAX; index++) {
        struct ifreq request = {.ifr_ifindex = index};
        if (ioctl(tools->control_fd, SIOCGIFNAME, &request) < 0)
            continue;
        memcpy(name, request.ifr_name, IFNAMSIZ);
        if (ioctl(tools->control_fd, SIOCGIFHWADDR, &request) == 0 &&
            memcmp(request.ifr_hwaddr.sa_data, mac, 6) == 0)
            return (unsigned)index;
    }
    return 0;
}

static int set_mac(const struct tools *tools, const char *name, const uint8_t mac[6])
{
    struct ifreq request = {.ifr_hwaddr.sa_family = ARPHRD_ETHER};
    strcpy(request.ifr_name, name);
    memcpy(request.ifr_hwaddr.sa_data, mac, 6);
    return ioctl(tools->control_fd, SIOCSIFHWADDR, &request);
}

static int rename_interface(const struct tools *tools, const char *from, const char *to)
{
    struct ifreq request = {0};
    strcpy(request.ifr_name, from);
    strcpy(request.ifr_newname, to);
    return ioctl(tools->control_fd, SIOCSIFNAME, &request);
}

// Another interface may have the wanted name: that one gets a temporary name.
static int give_name(const struct tools *tools, unsigned index, const char *current,
                     const char *wanted)
{
    char spare[IFNAMSIZ];
    if (strcmp(current, wanted) == 0)
        return 0;
    if (rename_interface(tools, current, wanted) == 0)
        return 0;
    snprintf(spare, sizeof spare, "spare%u", index);
    if (errno != EEXIST || rename_interface(tools, wanted, spare) < 0)
        return -1;
    return rename_interface(tools, current, wanted);
}

static int set_mtu(const struct tools *tools, const char *name, uint64_t mtu)
{
    struct ifreq request = {.ifr_mtu = (int)mtu};
    strcpy(request.ifr_name, name);
    return mtu == 0 ? 0 : ioctl(tools->control_fd, SIOCSIFMTU, &request);
}

static int fail_netlink(int result, const char *what, const char *name, struct failure *failure)
{
    errno = -result;
    return fail_call(failure, "cannot %s of %s", what, name);
}

static int add_addresses(const struct tools *tools, unsigned index,
                         const struct interface_spec *spec, struct failure *failure)
{
    for (size_t i = 0; i < spec->address_count; i++) {
        int result =
            netlink_add_address(tools->netlink_fd, index, &spec->addresses[i], spec->prefixes[i]);
        if (result < 0)
            return fail_netlink(result, "set an address", spec->name, failure);
    }
    for (size_t i = 0; i < spec->gateway_count; i++) {
        int result = netlink_add_default_route(tools->netlink_fd, index, &spec->gateways[i]);
        if (result < 0)
            return fail_netlink(result, "set the route", spec->name, failure);
    }
    return 0;
}

static int take_lease(const struct tools *tools, unsigned index, struct interface_spec *spec,
                      struct failure *failure)
{
    struct lease lease;
    int result = dhcp_ask(index, spec->mac, &lease);
    if (result < 0)
        return fail_netlink(result, "get an address by DHCP", spec->name, failure);
    if (spec->mtu == 0 && lease.mtu != 0 && set_mtu(tools, spec->name, lease.mtu) < 0)
        return fail_call(failure, "cannot set the MTU of %s", spec->name);
    if (spec->address_count < ADDRESSES_MAX) {
        spec->addresses[spec->address_count] = lease.address;
        spec->prefixes[spec->address_count++] = lease.prefix;
    }
    if (lease.gateway.length != 0 && spec->gateway_count < ADDRESSES_MAX)
        spec->gateways[spec->gateway_count++] = lease.gateway;
    return 0;
}

static int configure(const struct tools *tools, struct bytes fields, struct failure *failure)
{
    struct interface_spec spec;
    char name[IFNAMSIZ];
    if (interface_spec_parse(fields, &spec, failure) < 0)
        return -1;
    const uint8_t *device_mac = spec.has_device_mac ? spec.device_mac : spec.mac;
    unsigned index = find_interface(tools, device_mac, name);
    // A restored machine may have it in a window that was empty before.
    if (index == 0 && windows_bind(failure) < 0)
        return -1;
    if (index == 0)
        index = find_interface(tools, device_mac, name);
    if (index == 0)
        return fail(failure, ERROR_GUEST_FAILED, ENODEV, "no device has the MAC address of %s",
                    spec.name);
    if (spec.has_device_mac && set_mac(tools, name, spec.mac) < 0)
        return fail_call(failure, "cannot set the MAC address of %s", spec.name);
    if (give_name(tools, index, name, spec.name) < 0)
        return fail_call(failure, "cannot rename %s to %s", name, spec.name);
    if (set_mtu(tools, spec.name, spec.mtu) < 0 || set_flags(tools, spec.name, IFF_UP) < 0)
        return fail_call(failure, "cannot bring up %s", spec.name);
    if (spec.dhcp && take_lease(tools, index, &spec, failure) < 0)
        return -1;
    return add_addresses(tools, index, &spec, failure);
}

unsigned network_find(const uint8_t mac[6], char name[NETWORK_NAME_BYTES])
{
    struct tools tools = {.control_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    unsigned index = tools.control_fd < 0 ? 0 : find_interface(&tools, mac, name);
    close(tools.control_fd);
    return index;
}

int network_configure(const struct bytes *interfaces, size_t count, struct failure *failure)
{
    struct tools tools = {
        .control_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
        .netlink_fd = count > 0 ? netlink_open() : -1,
    };
    int result = tools.control_fd < 0 ? -1 : set_flags(&tools, "lo", IFF_UP);
    if (result < 0)
        fail_call(failure, "cannot bring up the loopback interface");
    for (size_t i = 0; i < count && result == 0; i++)
        result = configure(&tools, interfaces[i], failure);
    close(tools.control_fd);
    if (tools.netlink_fd >= 0)
        close(tools.netlink_fd);
    return result;
}
