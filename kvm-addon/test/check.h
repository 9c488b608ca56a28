/* The smallest test frame: CHECK() counts, check_finish() ends main(). */
#ifndef TSVM_TEST_CHECK_H
#define TSVM_TEST_CHECK_H

#include <stdbool.h>
#include <stdio.h>

static unsigned check_passed;
static unsigned check_failed;

#define CHECK(condition) check_record((condition), #condition, __FILE__, __LINE__)

static inline bool check_record(bool passed, const char *condition, const char *file, int line)
{
    if (passed) {
        check_passed++;
    } else {
        check_failed++;
        fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
    }
    return passed;
}

/* Prints the counts; the answer is the exit code of the test program. */
static inline int check_finish(void)
{
    printf("%u passed, %u failed\n", check_passed, check_failed);
    return check_failed == 0 ? 0 : 1;
}

#endif
