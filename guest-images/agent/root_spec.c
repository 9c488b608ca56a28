#include "root_spec.h"

#include <stdio.h>
#include <string.h>

#include "container.h"
#include "protocol.h"

#define SHM_BYTES (64u << 20)

static int keep_name(char *name, size_t size, const struct field *field, struct failure *failure)
{
    const char *text;
    if (field_text(field, &text, failure) < 0)
        return -1;
    if ((size_t)snprintf(name, size, "%s", text) >= size)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "a host name is too long: %s", text);
    return 0;
}

static int keep_sysctl(const struct field *field, struct failure *failure)
{
    const char *text;
    if (field_text(field, &text, failure) < 0)
        return -1;
    const char *copy = strdup(text);
    if (copy == NULL)
        return fail(failure, ERROR_GUEST_FAILED, 0, "out of memory");
    return text_list_add(&container.sysctls, copy, failure);
}

static int add_nested(struct bytes *list, size_t *count, size_t max, const struct field *field,
                      struct failure *failure)
{
    if (*count == max)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "more than %zu fields %d", max, field->tag);
    list[(*count)++] = field->value;
    return 0;
}

static int keep_port(uint8_t *ports, const struct field *field, struct failure *failure)
{
    uint64_t port;
    if (field_number(field, &port, failure) < 0)
        return -1;
    if (port == 0 || port > PUBLISHED_PORTS_MAX)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "there is no port %llu",
                    (unsigned long long)port);
    ports[port / 8] |= (uint8_t)(1 << port % 8);
    return 0;
}

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct root_spec *spec = target;
    switch (field->tag) {
    case ROOT_METADATA_BYTES:
        return field_number(field, &spec->metadata_bytes, failure);
    case ROOT_WRITABLE_MEMORY:
        return field_flag(field, &spec->writable_memory, failure);
    case ROOT_READ_ONLY:
        return field_flag(field, &container.read_only, failure);
    case ROOT_HOSTNAME:
        return keep_name(container.hostname, sizeof container.hostname, field, failure);
    case ROOT_DOMAINNAME:
        return keep_name(container.domainname, sizeof container.domainname, field, failure);
    case ROOT_HOSTS:
        return field_text(field, &spec->hosts, failure);
    case ROOT_RESOLV_CONF:
        return field_text(field, &spec->resolv_conf, failure);
    case ROOT_MOUNT:
        return add_nested(spec->mounts, &spec->mount_count, MOUNTS_MAX, field, failure);
    case ROOT_INTERFACE:
        return add_nested(spec->interfaces, &spec->interface_count, INTERFACES_MAX, field, failure);
    case ROOT_SYSCTL:
        return keep_sysctl(field, failure);
    case ROOT_LIMITS:
        return limits_parse(field->value, &spec->limits, failure);
    case ROOT_SHM_BYTES:
        return field_number(field, &spec->shm_bytes, failure);
    case ROOT_PRIVILEGED:
        return field_flag(field, &container.privileged, failure);
    case ROOT_INIT:
        return field_flag(field, &container.has_init, failure);
    case ROOT_PUBLISHED_PORT:
        return keep_port(spec->published_ports, field, failure);
    case ROOT_NAMES:
        spec->has_names = true;
        return name_servers_parse(field->value, &spec->names, failure);
    default:
        return field_unknown(field, "assemble", failure);
    }
}

int root_spec_parse(struct bytes request, struct root_spec *spec, struct failure *failure)
{
    *spec = (struct root_spec){.hosts = "", .resolv_conf = "", .shm_bytes = SHM_BYTES};
    return fields_take(request, parse_field, spec, failure);
}
