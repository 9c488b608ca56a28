#include "process_requests.h"

#include <errno.h>
#include <signal.h>

#include "process.h"
#include "protocol.h"

#define TAGS_MAX 4

// Numbers by their tag, which is small.
static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    uint64_t *numbers = target;
    if (field->tag >= TAGS_MAX)
        return field_unknown(field, "a process", failure);
    return field_number_max(field, INT32_MAX, &numbers[field->tag], failure);
}

int process_signal(struct bytes request, struct message *reply, struct failure *failure)
{
    uint64_t numbers[TAGS_MAX] = {0};
    (void)reply;
    if (fields_take(request, parse_field, numbers, failure) < 0)
        return -1;
    int number = (int)numbers[SIGNAL_NUMBER];
    if (number == 0 || number >= _NSIG || process_send_signal(numbers[SIGNAL_PROCESS], number) < 0)
        return fail(failure, ERROR_INVALID_REQUEST, EINVAL, "no signal %d", number);
    return 0;
}

int process_resize(struct bytes request, struct message *reply, struct failure *failure)
{
    uint64_t numbers[TAGS_MAX] = {0};
    (void)reply;
    if (fields_take(request, parse_field, numbers, failure) < 0)
        return -1;
    struct winsize window = {
        .ws_col = (unsigned short)numbers[RESIZE_COLUMNS],
        .ws_row = (unsigned short)numbers[RESIZE_ROWS],
    };
    process_set_window(numbers[RESIZE_PROCESS], &window);
    return 0;
}
