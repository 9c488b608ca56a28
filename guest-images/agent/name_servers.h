// Name servers that the resolver asks about what the host refuses.
#pragma once

#include "fields.h"
#include "netlink.h"

#define NAME_SERVERS_MAX 3
// How long a name server may take, in ms, before the next one is asked. Clients wait for 5 s.
#define NAME_SERVER_PATIENCE_MS 1500

struct name_servers {
    struct address addresses[NAME_SERVERS_MAX];
    size_t count;
};

int name_servers_parse(struct bytes fields, struct name_servers *servers, struct failure *failure);
// A socket that is connected to a server, or is being connected. -errno.
int name_server_open(const struct address *server, int type);
