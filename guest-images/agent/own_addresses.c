#include "own_addresses.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LOOPBACK_NET 127
#define ADDRESS_DIGITS 32

static void add_ipv4(struct own_addresses *addresses, struct in_addr address, uint16_t port)
{
    struct own_address *own = &addresses->list[addresses->count++];
    own->ipv4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
    own->length = sizeof own->ipv4;
}

static void add_ipv6(struct own_addresses *addresses, const struct in6_addr *address, uint16_t port)
{
    struct own_address *own = &addresses->list[addresses->count++];
    own->ipv6 = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = *address};
    own->length = sizeof own->ipv6;
}

void own_addresses_ipv4(struct own_addresses *addresses, uint16_t port)
{
    struct ifreq requests[OWN_ADDRESSES_MAX];
    struct ifconf config = {.ifc_len = sizeof requests, .ifc_req = requests};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    addresses->count = 0;
    if (fd >= 0 && ioctl(fd, SIOCGIFCONF, &config) == 0) {
        size_t found = (size_t)config.ifc_len / sizeof requests[0];
        for (size_t i = 0; i < found && addresses->count < OWN_ADDRESSES_MAX - 1; i++) {
            struct sockaddr_in address;
            memcpy(&address, &requests[i].ifr_addr, sizeof address);
            if (ntohl(address.sin_addr.s_addr) >> 24 != LOOPBACK_NET)
                add_ipv4(addresses, address.sin_addr, port);
        }
    }
    if (fd >= 0)
        close(fd);
    add_ipv4(addresses, (struct in_addr){htonl(INADDR_LOOPBACK)}, port);
}

static int digit_of(char character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

static bool parse_address(const char *text, struct in6_addr *address)
{
    for (size_t i = 0; i < ADDRESS_DIGITS; i += 2) {
        int high = digit_of(text[i]);
        int low = high < 0 ? -1 : digit_of(text[i + 1]);
        if (low < 0)
            return false;
        address->s6_addr[i / 2] = (uint8_t)(high << 4 | low);
    }
    return true;
}

void own_addresses_parse(struct own_addresses *addresses, const char *text, uint16_t port)
{
    // Address, index, prefix length, scope, flags, name: only scope 00 is global.
    static const char *const GLOBAL = " 00 ";
    while (text != NULL && *text != '\0' && addresses->count < OWN_ADDRESSES_MAX - 1) {
        struct in6_addr address;
        if (!parse_address(text, &address))
            return;
        const char *index = strchr(text + ADDRESS_DIGITS, ' ');
        const char *prefix = index == NULL ? NULL : strchr(index + 1, ' ');
        const char *scope = prefix == NULL ? NULL : strchr(prefix + 1, ' ');
        if (scope == NULL)
            return;
        if (strncmp(scope, GLOBAL, strlen(GLOBAL)) == 0)
            add_ipv6(addresses, &address, port);
        text = strchr(scope, '\n');
        if (text != NULL)
            text++;
    }
}

void own_addresses_ipv6(struct own_addresses *addresses, uint16_t port)
{
    static char text[4096];
    ssize_t length = 0;
    int fd = open("/proc/net/if_inet6", O_RDONLY | O_CLOEXEC);
    addresses->count = 0;
    if (fd >= 0) {
        length = read(fd, text, sizeof text - 1);
        close(fd);
    }
    text[length > 0 ? length : 0] = '\0';
    own_addresses_parse(addresses, text, port);
    add_ipv6(addresses, &in6addr_loopback, port);
}
