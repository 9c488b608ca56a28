#include "fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol.h"

int fields_next(struct bytes *rest, struct field *field)
{
    if (rest->length == 0)
        return 0;
    if (rest->length < FIELD_HEADER_BYTES)
        return -EBADMSG;
    uint32_t length;
    memcpy(&length, rest->data + 1, sizeof length);
    if (length > rest->length - FIELD_HEADER_BYTES)
        return -EBADMSG;
    field->tag = rest->data[0];
    field->value = (struct bytes){rest->data + FIELD_HEADER_BYTES, length};
    rest->data += FIELD_HEADER_BYTES + length;
    rest->length -= FIELD_HEADER_BYTES + length;
    return 1;
}

static int wrong_value(const struct field *field, const char *kind, struct failure *failure)
{
    return fail(failure, ERROR_INVALID_REQUEST, 0, "field %d is not %s", field->tag, kind);
}

int field_text(const struct field *field, const char **text, struct failure *failure)
{
    const struct bytes *value = &field->value;
    if (value->length == 0 ||
        memchr(value->data, 0, value->length) != value->data + value->length - 1)
        return wrong_value(field, "text", failure);
    *text = (const char *)value->data;
    return 0;
}

int field_number(const struct field *field, uint64_t *number, struct failure *failure)
{
    if (field->value.length != sizeof *number)
        return wrong_value(field, "a number", failure);
    memcpy(number, field->value.data, sizeof *number);
    return 0;
}

int field_number_max(const struct field *field, uint64_t max, uint64_t *number,
                     struct failure *failure)
{
    if (field_number(field, number, failure) < 0)
        return -1;
    return *number <= max ? 0 : wrong_value(field, "a number in range", failure);
}

int field_flag(const struct field *field, bool *flag, struct failure *failure)
{
    uint64_t number;
    if (field_number_max(field, 1, &number, failure) < 0)
        return -1;
    *flag = number == 1;
    return 0;
}

int field_unknown(const struct field *field, const char *request, struct failure *failure)
{
    return fail(failure, ERROR_INVALID_REQUEST, 0, "%s has an unknown field %d", request,
                field->tag);
}

int fields_take(struct bytes fields, field_taker *take, void *target, struct failure *failure)
{
    struct field field;
    int more;
    while ((more = fields_next(&fields, &field)) > 0) {
        if (take(&field, target, failure) < 0)
            return -1;
    }
    if (more < 0)
        return fail(failure, ERROR_INVALID_REQUEST, EBADMSG, "a field is longer than its request");
    return 0;
}

int text_list_add(struct text_list *list, const char *text, struct failure *failure)
{
    // Grows at each power of two.
    if ((list->count & (list->count + 1)) == 0) {
        size_t size = (list->count + 1) * 2 * sizeof *list->items;
        const char **items = realloc(list->items, size);
        if (items == NULL)
            return fail(failure, ERROR_GUEST_FAILED, ENOMEM, "out of memory");
        list->items = items;
    }
    list->items[list->count++] = text;
    list->items[list->count] = NULL;
    return 0;
}

void text_list_free(struct text_list *list)
{
    free(list->items);
    *list = (struct text_list){0};
}
