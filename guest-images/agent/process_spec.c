#include "process_spec.h"

#include <string.h>

#include "protocol.h"

#define RESOURCE_LIMIT_BYTES 20

static int add_limit(struct process_spec *spec, const struct field *field, struct failure *failure)
{
    if (field->value.length != RESOURCE_LIMIT_BYTES || spec->limit_count == RESOURCE_LIMITS_MAX)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "wrong or too many resource limits");
    struct resource_limit *limit = &spec->limits[spec->limit_count++];
    memcpy(&limit->number, field->value.data, sizeof limit->number);
    memcpy(&limit->soft, field->value.data + 4, sizeof limit->soft);
    memcpy(&limit->hard, field->value.data + 12, sizeof limit->hard);
    return 0;
}

static int add_text(struct text_list *list, const struct field *field, struct failure *failure)
{
    const char *text;
    if (field_text(field, &text, failure) < 0)
        return -1;
    return text_list_add(list, text, failure);
}

static int parse_window(unsigned short *size, const struct field *field, struct process_spec *spec,
                        struct failure *failure)
{
    uint64_t number;
    if (field_number_max(field, UINT16_MAX, &number, failure) < 0)
        return -1;
    *size = (unsigned short)number;
    spec->has_terminal = true;
    return 0;
}

static int parse_oom_score(struct process_spec *spec, const struct field *field,
                           struct failure *failure)
{
    uint64_t number;
    if (field_number(field, &number, failure) < 0)
        return -1;
    spec->oom_score_adjust = (int)(int64_t)number;
    spec->has_oom_score_adjust = true;
    return 0;
}

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct process_spec *spec = target;
    switch (field->tag) {
    case START_IN_GUEST:
        return field_flag(field, &spec->in_guest, failure);
    case START_ARGUMENT:
        return add_text(&spec->arguments, field, failure);
    case START_VARIABLE:
        return add_text(&spec->variables, field, failure);
    case START_DIRECTORY:
        return field_text(field, &spec->directory, failure);
    case START_USER:
        return field_text(field, &spec->user, failure);
    case START_GROUP:
        return add_text(&spec->groups, field, failure);
    case START_COLUMNS:
        return parse_window(&spec->window.ws_col, field, spec, failure);
    case START_ROWS:
        return parse_window(&spec->window.ws_row, field, spec, failure);
    case START_STDIN:
        return field_flag(field, &spec->has_stdin, failure);
    case START_CAPABILITIES:
        return field_number(field, &spec->capabilities, failure);
    case START_NO_NEW_PRIVILEGES:
        return field_flag(field, &spec->no_new_privileges, failure);
    case START_SECCOMP:
        return field_flag(field, &spec->seccomp, failure);
    case START_SECCOMP_FILTER:
        spec->seccomp_filter = field->value;
        return 0;
    case START_RESOURCE_LIMIT:
        return add_limit(spec, field, failure);
    case START_OOM_SCORE_ADJUST:
        return parse_oom_score(spec, field, failure);
    default:
        return field_unknown(field, "start", failure);
    }
}

int process_spec_parse(struct bytes request, struct process_spec *spec, struct failure *failure)
{
    *spec = (struct process_spec){.directory = "/", .user = ""};
    if (fields_take(request, parse_field, spec, failure) < 0)
        return -1;
    if (spec->arguments.count == 0)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "no program to start");
    if (spec->directory[0] != '/')
        return fail(failure, ERROR_INVALID_REQUEST, 0, "the working directory is not absolute");
    return 0;
}

void process_spec_free(struct process_spec *spec)
{
    text_list_free(&spec->arguments);
    text_list_free(&spec->variables);
    text_list_free(&spec->groups);
}
