#include "shutdown.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container.h"
#include "overlay.h"

static void end_processes(void)
{
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
}

int shutdown_prepare(struct bytes request, struct message *reply, struct failure *failure)
{
    (void)request;
    (void)reply;
    (void)failure;
    end_processes();
    // Mounts in the root keep it busy, so it is detached with all of them; nobody uses it any more.
    umount2(CONTAINER_ROOT, MNT_DETACH);
    if (umount2(OVERLAY_WRITABLE, 0) < 0)
        sync();
    return 0;
}

void shutdown_machine(void)
{
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}
