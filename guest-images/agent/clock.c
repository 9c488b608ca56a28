#include "clock.h"

#include <time.h>

#include "protocol.h"

#define NANOSECONDS_MAX 999999999

int clock_set(struct bytes request, struct message *reply, struct failure *failure)
{
    uint64_t seconds = 0, nanoseconds = 0;
    struct field field;
    int more;
    (void)reply;
    while ((more = fields_next(&request, &field)) > 0) {
        bool is_seconds = field.tag == CLOCK_SECONDS;
        if (field_number_max(&field, is_seconds ? INT64_MAX : NANOSECONDS_MAX,
                             is_seconds ? &seconds : &nanoseconds, failure) < 0)
            return -1;
    }
    if (more < 0)
        return fields_broken(failure);
    struct timespec now = {.tv_sec = (time_t)seconds, .tv_nsec = (long)nanoseconds};
    if (clock_settime(CLOCK_REALTIME, &now) < 0)
        return fail_call(failure, "cannot set the clock");
    return 0;
}
