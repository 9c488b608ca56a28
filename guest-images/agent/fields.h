// The fields of a request: see protocol.h. All of them are checked before they are used.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

struct bytes {
    const uint8_t *data;
    size_t length;
};

struct field {
    uint8_t tag;
    struct bytes value;
};

// Takes the next field off `rest`. 1: there was one; 0: no more; -EBADMSG: it does not fit.
int fields_next(struct bytes *rest, struct field *field);

// Values of a field; -1 with the failure if it is not of that kind. Text stays in the request.
int field_text(const struct field *field, const char **text, struct failure *failure);
int field_number(const struct field *field, uint64_t *number, struct failure *failure);
// At most `max`.
int field_number_max(const struct field *field, uint64_t max, uint64_t *number,
                     struct failure *failure);
int field_flag(const struct field *field, bool *flag, struct failure *failure);
// Takes a field of a request into `target`; -1 with the failure if it cannot be.
typedef int field_taker(const struct field *field, void *target, struct failure *failure);
// Hands over all fields, one after the other. 0, or -1 with the failure.
int fields_take(struct bytes fields, field_taker *take, void *target, struct failure *failure);

// ERROR_INVALID_REQUEST. Returns -1.
int field_unknown(const struct field *field, const char *request, struct failure *failure);

// A list of texts, with a NULL at its end; it grows as needed.
struct text_list {
    const char **items;
    size_t count;
};

int text_list_add(struct text_list *list, const char *text, struct failure *failure);
void text_list_free(struct text_list *list);
