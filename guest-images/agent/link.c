#include "link.h"

#include <stdbool.h>

#include "container.h"
#include "interface_spec.h"
#include "mounts.h"
#include "names.h"
#include "network.h"
#include "protocol.h"
#include "windows.h"

struct link_spec {
    struct bytes interface;
    const char *resolv_conf; // NULL: it stays
    bool has_names;
    struct name_servers names;
};

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct link_spec *spec = target;
    switch (field->tag) {
    case LINK_INTERFACE:
        spec->interface = field->value;
        return 0;
    case LINK_RESOLV_CONF:
        return field_text(field, &spec->resolv_conf, failure);
    case LINK_NAMES:
        spec->has_names = true;
        return name_servers_parse(field->value, &spec->names, failure);
    default:
        return field_unknown(field, "a network device", failure);
    }
}

static int parse(struct bytes request, struct link_spec *spec, struct interface_spec *interface,
                 struct failure *failure)
{
    *spec = (struct link_spec){0};
    if (!container.assembled)
        return fail(failure, ERROR_WRONG_STATE, 0, "the container is not assembled yet");
    if (fields_take(request, parse_field, spec, failure) < 0)
        return -1;
    return interface_spec_parse(spec->interface, interface, failure);
}

static int release(const uint8_t mac[6], struct failure *failure)
{
    char name[NETWORK_NAME_BYTES];
    // Not there: the guest does not use it.
    return network_find(mac, name) == 0 ? 0 : windows_unbind(name, failure);
}

static int write_names(const struct link_spec *spec, struct failure *failure)
{
    if (spec->has_names && names_start(&spec->names, failure) < 0)
        return -1;
    return spec->resolv_conf == NULL ? 0 : mounts_write_resolv_conf(spec->resolv_conf, failure);
}

int link_attach(struct bytes request, struct message *reply, struct failure *failure)
{
    struct link_spec spec;
    struct interface_spec interface;
    struct failure ignored;
    (void)reply;
    if (parse(request, &spec, &interface, failure) < 0 || windows_bind(failure) < 0)
        return -1;
    if (network_configure(&spec.interface, 1, failure) == 0 && write_names(&spec, failure) == 0)
        return 0;
    release(interface.mac, &ignored);
    return -1;
}

int link_detach(struct bytes request, struct message *reply, struct failure *failure)
{
    struct link_spec spec;
    struct interface_spec interface;
    (void)reply;
    if (parse(request, &spec, &interface, failure) < 0 || release(interface.mac, failure) < 0)
        return -1;
    return write_names(&spec, failure);
}
