#include "name_servers.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "dns_message.h"
#include "protocol.h"

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct name_servers *servers = target;
    size_t length = field->value.length;
    if (field->tag != NAMES_SERVER)
        return field_unknown(field, "names", failure);
    if ((length != 4 && length != 16) || servers->count == NAME_SERVERS_MAX)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "a wrong name server, or too many");
    struct address *address = &servers->addresses[servers->count++];
    memcpy(address->bytes, field->value.data, length);
    address->length = (uint8_t)length;
    return 0;
}

int name_servers_parse(struct bytes fields, struct name_servers *servers, struct failure *failure)
{
    *servers = (struct name_servers){.count = 0};
    return fields_take(fields, parse_field, servers, failure);
}

int name_server_open(const struct address *server, int type)
{
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    } to = {.any.sa_family = AF_UNSPEC};
    bool is_ipv4 = server->length == 4;
    int fd = socket(is_ipv4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (is_ipv4) {
        to.ipv4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(DNS_PORT)};
        memcpy(&to.ipv4.sin_addr, server->bytes, 4);
    } else {
        to.ipv6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT)};
        memcpy(&to.ipv6.sin6_addr, server->bytes, 16);
    }
    // A stream's patience is also that of its connect(2) and of its reads and writes.
    struct timeval patience = {.tv_sec = NAME_SERVER_PATIENCE_MS / 1000,
                               .tv_usec = NAME_SERVER_PATIENCE_MS % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, &to.any, is_ipv4 ? sizeof to.ipv4 : sizeof to.ipv6) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}
