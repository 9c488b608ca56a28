#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/if_tun.h>

int tap_open(const char *name, bool multi_queue)
{
    int flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi_queue ? IFF_MULTI_QUEUE : 0);
    struct ifreq request = {.ifr_flags = (short)flags};
    if (strlen(name) >= sizeof request.ifr_name)
        return -ENODEV;
    strcpy(request.ifr_name, name);
    /* TUNSETIFF would create a device of this name, which nothing is connected to. */
    if (if_nametoindex(name) == 0)
        return -ENODEV;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENODEV || errno == ENOENT ? -EOPNOTSUPP : -errno;
    if (ioctl(fd, TUNSETIFF, &request) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

int tap_set_queue(int fd, bool attached)
{
    struct ifreq request = {.ifr_flags = (short)(attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE)};
    return ioctl(fd, TUNSETQUEUE, &request) < 0 ? -errno : 0;
}
