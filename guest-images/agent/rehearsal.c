#include "rehearsal.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"
#include "names.h"
#include "processors.h"
#include "protocol.h"
#include "root.h"
#include "seccomp.h"
#include "world.h"

#define PROGRAM "/init"

// Loads the image's file system, where that is a module: a start would wait some 60 ms for it.
// There is no image yet.
static void load_image_driver(void)
{
    int fd = (int)syscall(SYS_fsopen, "erofs", 0);
    if (fd >= 0)
        close(fd);
}

// The kernel may be one without nftables.
_Noreturn static void rehearse_names(void)
{
    _exit(names_rehearse() < 0);
}

_Noreturn static void rehearse_container(void)
{
    struct failure failure = {0};
    if (root_rehearse(PROGRAM, &failure) == 0 && world_create(-1, &failure) == 0 &&
        seccomp_apply(0, &failure) == 0)
        execl(PROGRAM, PROGRAM, REHEARSAL, NULL);
    _exit(1);
}

// Runs `part` in a process of its own, to its end. Its status; -errno.
static int run(void (*part)(void), uint64_t namespaces)
{
    int status;
    pid_t pid = clone_process(namespaces, -1);
    if (pid == 0)
        part();
    while (pid > 0 && waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return pid < 0 ? -errno : status;
}

int rehearsal_run(struct bytes request, struct message *reply, struct failure *failure)
{
    (void)request;
    (void)reply;
    processors_wait();
    if (root_mount_writable(failure) < 0)
        return -1;
    load_image_driver();
    (void)run(rehearse_names, CLONE_NEWNET);
    int result = run(rehearse_container, CONTAINER_NAMESPACES);
    if (result != 0)
        return fail(failure, ERROR_GUEST_FAILED, result < 0 ? -result : 0, "the rehearsal failed");
    root_forget_rehearsal();
    return 0;
}
