#include "trim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

#include "overlay.h"

// Memory that is free goes to the host by the balloon's free page reporting; caches are not free.
static void drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!write(fd, "1", 1);
    close(fd);
}

int trim(int fd, struct bytes request, struct message *reply, struct failure *failure)
{
    struct fstrim_range everything = {.len = UINT64_MAX};
    (void)fd;
    (void)request;
    (void)reply;
    int folder_fd = open(OVERLAY_WRITABLE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0)
        return fail_call(failure, "cannot open the writable layer");
    syncfs(folder_fd);
    drop_caches();
    // A writable layer in memory has no blocks to give back.
    if (ioctl(folder_fd, FITRIM, &everything) < 0 && errno != EOPNOTSUPP && errno != ENOTTY)
        return fail_call(failure, "cannot trim the writable layer");
    close(folder_fd);
    return 0;
}
