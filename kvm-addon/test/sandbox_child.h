/* Tests of the sandbox: something forbidden in a child process, and what becomes of it. */
#ifndef TSVM_TEST_SANDBOX_CHILD_H
#define TSVM_TEST_SANDBOX_CHILD_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define EXIT_FORBIDDEN 125
#define EXIT_DONE 9

struct attempt {
    const char *name; /* of the system call, as the message has it */
    void (*make)(void);
};

/* Runs it in a child, whose standard error goes into `text`. Returns the exit code or -1. */
static inline int child_run(void (*main)(void *), void *argument, char *text, size_t size)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        main(argument);
        _exit(3);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], text + length, size - 1 - length)) > 0;)
        length += (size_t)got;
    text[length] = 0;
    close(ends[0]);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Runs `main` in a child, where a thread of this kind is to make the attempt in vain. */
static inline void check_forbidden(void (*main)(void *), void *argument, const char *kind,
                                   const struct attempt *attempt)
{
    char text[1024], expected[128];
    int code = child_run(main, argument, text, sizeof text);
    snprintf(expected, sizeof expected,
             "tsvm: %s made a system call that the sandbox forbids: %s. ", kind, attempt->name);
    bool named = strncmp(text, expected, strlen(expected)) == 0;
    if (!CHECK(code == EXIT_FORBIDDEN && named))
        fprintf(stderr, "exit code %d, message: %s\nexpected: %s\n", code, text, expected);
}

#endif
