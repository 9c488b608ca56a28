// Why a request failed, as the host is told.
#pragma once

#include <stdint.h>

struct failure {
    uint8_t code; // enum error_code
    int number;   // errno, or 0
    char text[500];
};

// Fills in the failure. Returns -1.
int fail(struct failure *failure, uint8_t code, int number, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// ERROR_GUEST_FAILED with the current errno, whose text is appended: "cannot mount /proc: ...".
int fail_call(struct failure *failure, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
