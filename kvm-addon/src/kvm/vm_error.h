/* Which call on KVM failed, for an error message that names it. */
#ifndef TSVM_VM_ERROR_H
#define TSVM_VM_ERROR_H

#include <errno.h>
#include <stdbool.h>
#include <sys/ioctl.h>

/* A failed call: which one, and the negative errno. `call` is a string literal. */
struct vm_error {
    const char *call;
    int error;
};

/* Records a failure; the answer is false. */
static inline bool vm_fail(struct vm_error *failed, const char *call, int error)
{
    failed->call = call;
    failed->error = error;
    return false;
}

/* ioctl() in a function that answers bool: a failure is recorded under the request's own name. */
#define TRY_IOCTL(failed, fd, request, argument)                                                   \
    do {                                                                                           \
        if (ioctl(fd, request, argument) < 0)                                                      \
            return vm_fail(failed, #request, -errno);                                              \
    } while (0)

#endif
