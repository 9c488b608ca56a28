#include "rehearsal.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"
#include "processors.h"
#include "protocol.h"
#include "root.h"
#include "seccomp.h"
#include "world.h"

#define PROGRAM "/init"

_Noreturn static void rehearse(void)
{
    struct failure failure = {0};
    if (root_rehearse(PROGRAM, &failure) == 0 && world_create(-1, &failure) == 0 &&
        seccomp_apply(0, &failure) == 0)
        execl(PROGRAM, PROGRAM, REHEARSAL, NULL);
    _exit(1);
}

int rehearsal_run(struct bytes request, struct message *reply, struct failure *failure)
{
    int status;
    (void)request;
    (void)reply;
    processors_wait();
    if (root_mount_writable(failure) < 0)
        return -1;
    pid_t pid = clone_process(CONTAINER_NAMESPACES, -1);
    if (pid == 0)
        rehearse();
    while (pid > 0 && waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return fail_call(failure, "cannot wait for the rehearsal");
    }
    if (pid < 0)
        return fail_call(failure, "cannot start the rehearsal");
    if (status != 0)
        return fail(failure, ERROR_GUEST_FAILED, 0, "the rehearsal failed");
    root_forget_rehearsal();
    return 0;
}
