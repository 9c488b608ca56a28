#include "process_requests.h"

#include <errno.h>
#include <signal.h>

#include "process.h"
#include "protocol.h"

int process_signal(struct bytes request, struct message *reply, struct failure *failure)
{
    uint64_t pid = 0, number = 0;
    struct field field;
    int more;
    (void)reply;
    while ((more = fields_next(&request, &field)) > 0) {
        uint64_t *value = field.tag == SIGNAL_PROCESS ? &pid : &number;
        if (field_number(&field, value, failure) < 0)
            return -1;
    }
    if (more < 0)
        return fields_broken(failure);
    if (number == 0 || number >= _NSIG || process_send_signal(pid, (int)number) < 0)
        return fail(failure, ERROR_INVALID_REQUEST, EINVAL, "no signal %d", (int)number);
    return 0;
}

int process_resize(struct bytes request, struct message *reply, struct failure *failure)
{
    uint64_t pid = 0, columns = 0, rows = 0;
    struct field field;
    int more;
    (void)reply;
    while ((more = fields_next(&request, &field)) > 0) {
        uint64_t *value = field.tag == RESIZE_PROCESS   ? &pid
                          : field.tag == RESIZE_COLUMNS ? &columns
                                                        : &rows;
        if (field_number_max(&field, INT32_MAX, value, failure) < 0)
            return -1;
    }
    if (more < 0)
        return fields_broken(failure);
    struct winsize window = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    process_set_window(pid, &window);
    return 0;
}
