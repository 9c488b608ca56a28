#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol.h"

int fail(struct failure *failure, uint8_t code, int number, const char *format, ...)
{
    va_list arguments;
    failure->code = code;
    failure->number = number;
    va_start(arguments, format);
    vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    return -1;
}

int fail_call(struct failure *failure, const char *format, ...)
{
    va_list arguments;
    int number = errno;
    failure->code = ERROR_GUEST_FAILED;
    failure->number = number;
    va_start(arguments, format);
    int length = vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < sizeof failure->text)
        snprintf(failure->text + length, sizeof failure->text - length, ": %s", strerror(number));
    return -1;
}
