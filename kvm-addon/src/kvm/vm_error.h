/* Identifies the failed KVM call, for error messages. */
#ifndef TSVM_VM_ERROR_H
#define TSVM_VM_ERROR_H

#include <errno.h>
#include <stdbool.h>
#include <sys/ioctl.h>

/* A failed call: its name, a string literal, and the negative errno. */
struct vm_error {
    const char *call;
    int error;
};

/* Records a failure and returns false. */
static inline bool vm_fail(struct vm_error *failed, const char *call, int error)
{
    failed->call = call;
    failed->error = error;
    return false;
}

/* ioctl() in a function that returns bool: on failure records the request's name, returns false. */
#define TRY_IOCTL(failed, fd, request, argument)                                                   \
    do {                                                                                           \
        if (ioctl(fd, request, argument) < 0)                                                      \
            return vm_fail(failed, #request, -errno);                                              \
    } while (0)

#endif
