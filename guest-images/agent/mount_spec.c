#include "mount_spec.h"

#include <string.h>

#include "protocol.h"

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct mount_spec *spec = target;
    switch (field->tag) {
    case MOUNT_TYPE:
        return field_number(field, &spec->type, failure);
    case MOUNT_DESTINATION:
        return field_text(field, &spec->destination, failure);
    case MOUNT_READ_ONLY:
        return field_flag(field, &spec->read_only, failure);
    case MOUNT_SHARE_TAG:
        return field_text(field, &spec->share_tag, failure);
    case MOUNT_SOURCE:
        return field_text(field, &spec->source, failure);
    case MOUNT_COPY_UP:
        return field_flag(field, &spec->copy_up, failure);
    case MOUNT_SIZE_BYTES:
        return field_number(field, &spec->size_bytes, failure);
    case MOUNT_SIZE_PERCENT:
        return field_number_max(field, 100, &spec->size_percent, failure);
    case MOUNT_INODES:
        return field_number(field, &spec->inodes, failure);
    case MOUNT_MODE:
        return field_number_max(field, 07777, &spec->mode, failure);
    case MOUNT_FLAGS:
        return field_number_max(field, UINT32_MAX, &spec->flags, failure);
    case MOUNT_PORT:
        return field_number_max(field, UINT32_MAX - 1, &spec->port, failure);
    case MOUNT_USER_ID:
        return field_number_max(field, UINT32_MAX - 1, &spec->user_id, failure);
    case MOUNT_GROUP_ID:
        return field_number_max(field, UINT32_MAX - 1, &spec->group_id, failure);
    default:
        return field_unknown(field, "a mount", failure);
    }
}

int mount_spec_parse(struct bytes fields, struct mount_spec *spec, struct failure *failure)
{
    *spec = (struct mount_spec){.destination = "", .share_tag = "", .source = ""};
    if (fields_take(fields, parse_field, spec, failure) < 0)
        return -1;
    if (spec->destination[0] != '/')
        return fail(failure, ERROR_INVALID_REQUEST, 0, "the mount's destination is not absolute");
    if (strchr(spec->share_tag, '/') != NULL || spec->share_tag[0] == '.')
        return fail(failure, ERROR_INVALID_REQUEST, 0, "not a share's tag: %s", spec->share_tag);
    return 0;
}
