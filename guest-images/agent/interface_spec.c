#include "interface_spec.h"

#include <net/if.h>
#include <string.h>

#include "protocol.h"

static int take_address(struct bytes value, struct address *address, size_t *count,
                        struct failure *failure)
{
    if ((value.length != 4 && value.length != 16) || *count == ADDRESSES_MAX)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "wrong or too many addresses");
    memcpy(address->bytes, value.data, value.length);
    address->length = (uint8_t)value.length;
    ++*count;
    return 0;
}

static int take_network(struct bytes value, struct interface_spec *spec, struct failure *failure)
{
    size_t index = spec->address_count;
    if (value.length == 0)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "an empty address");
    if (take_address((struct bytes){value.data, value.length - 1}, &spec->addresses[index],
                     &spec->address_count, failure) < 0)
        return -1;
    spec->prefixes[index] = value.data[value.length - 1];
    return 0;
}

static int take_mac(struct bytes value, uint8_t mac[6], struct failure *failure)
{
    if (value.length != 6)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "a MAC address has 6 bytes");
    memcpy(mac, value.data, 6);
    return 0;
}

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct interface_spec *spec = target;
    switch (field->tag) {
    case INTERFACE_MAC:
        return take_mac(field->value, spec->mac, failure);
    case INTERFACE_DEVICE_MAC:
        spec->has_device_mac = true;
        return take_mac(field->value, spec->device_mac, failure);
    case INTERFACE_NAME:
        return field_text(field, &spec->name, failure);
    case INTERFACE_DHCP:
        return field_flag(field, &spec->dhcp, failure);
    case INTERFACE_ADDRESS:
        return take_network(field->value, spec, failure);
    case INTERFACE_GATEWAY:
        return take_address(field->value, &spec->gateways[spec->gateway_count],
                            &spec->gateway_count, failure);
    case INTERFACE_MTU:
        return field_number_max(field, UINT16_MAX, &spec->mtu, failure);
    default:
        return field_unknown(field, "an interface", failure);
    }
}

int interface_spec_parse(struct bytes fields, struct interface_spec *spec, struct failure *failure)
{
    *spec = (struct interface_spec){.name = ""};
    if (fields_take(fields, parse_field, spec, failure) < 0)
        return -1;
    if (spec->name[0] == 0 || strlen(spec->name) >= IFNAMSIZ)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "no name for an interface: %s", spec->name);
    return 0;
}
