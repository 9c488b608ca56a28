#include "clock.h"

#include <time.h>

#include "protocol.h"

#define NANOSECONDS_MAX 999999999

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct timespec *time = target;
    uint64_t number;
    bool is_seconds = field->tag == CLOCK_SECONDS;
    if (field_number_max(field, is_seconds ? INT64_MAX : NANOSECONDS_MAX, &number, failure) < 0)
        return -1;
    if (is_seconds)
        time->tv_sec = (time_t)number;
    else
        time->tv_nsec = (long)number;
    return 0;
}

int clock_set(struct bytes request, struct message *reply, struct failure *failure)
{
    struct timespec now = {0};
    (void)reply;
    if (fields_take(request, parse_field, &now, failure) < 0)
        return -1;
    if (clock_settime(CLOCK_REALTIME, &now) < 0)
        return fail_call(failure, "cannot set the clock");
    return 0;
}
