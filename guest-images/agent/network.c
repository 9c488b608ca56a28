#include "network.h"

#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int bring_up_loopback(struct failure *failure)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int result = fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &request);
    if (result < 0)
        fail_call(failure, "cannot bring up the loopback interface");
    if (fd >= 0)
        close(fd);
    return result;
}

int network_configure(const struct bytes *interfaces, size_t count, struct failure *failure)
{
    (void)interfaces;
    (void)count;
    return bring_up_loopback(failure);
}
