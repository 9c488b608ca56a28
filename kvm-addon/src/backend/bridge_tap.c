#include "bridge_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <linux/sockios.h>

static int connect_port(int control, const char *name, const char *bridge)
{
    struct ifreq port = {0}, member = {0};
    strcpy(port.ifr_name, name);
    strcpy(member.ifr_name, bridge);
    member.ifr_ifindex = (int)if_nametoindex(name);
    if (member.ifr_ifindex == 0 || ioctl(control, SIOCBRADDIF, &member) < 0 ||
        ioctl(control, SIOCGIFFLAGS, &port) < 0)
        return -errno;
    port.ifr_flags |= IFF_UP;
    return ioctl(control, SIOCSIFFLAGS, &port) < 0 ? -errno : 0;
}

static int open_port(const char *name, const char *bridge)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    strcpy(request.ifr_name, name);
    if (if_nametoindex(bridge) == 0)
        return -ENODEV;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENODEV || errno == ENOENT ? -EOPNOTSUPP : -errno;
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int result = control < 0 || ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : 0;
    if (result == 0)
        result = connect_port(control, name, bridge);
    if (control >= 0)
        close(control);
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

static int enter_namespace(pid_t pid, const char *kind)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kind);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    int result = setns(fd, 0) < 0 ? -errno : 0;
    close(fd);
    return result;
}

union rights {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr header;
};

/* The answer of the process that entered the namespaces: a result, and its descriptor if it is 0.
 */
static void send_answer(int socket, int result)
{
    union rights rights = {0};
    int status = result < 0 ? result : 0;
    struct iovec part = {.iov_base = &status, .iov_len = sizeof status};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (result >= 0) {
        message.msg_control = rights.bytes;
        message.msg_controllen = sizeof rights.bytes;
        rights.header.cmsg_level = SOL_SOCKET;
        rights.header.cmsg_type = SCM_RIGHTS;
        rights.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&rights.header), &result, sizeof result);
    }
    (void)!sendmsg(socket, &message, MSG_NOSIGNAL);
}

static int receive_answer(int socket)
{
    union rights rights = {0};
    int status = -EIO, fd;
    struct iovec part = {.iov_base = &status, .iov_len = sizeof status};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = rights.bytes,
                             .msg_controllen = sizeof rights.bytes};
    ssize_t length;
    do
        length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    if (length != sizeof status)
        return -EIO;
    if (status < 0)
        return status;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS)
        return -EIO;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

/* Only a process of a single thread may enter a user namespace. */
static int open_elsewhere(const char *name, const char *bridge, pid_t namespace_pid)
{
    int pair[2], status;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0) {
        int result = enter_namespace(namespace_pid, "user");
        if (result == 0)
            result = enter_namespace(namespace_pid, "net");
        send_answer(pair[1], result < 0 ? result : open_port(name, bridge));
        _exit(0);
    }
    int result = child < 0 ? -errno : 0;
    close(pair[1]);
    if (child > 0) {
        result = receive_answer(pair[0]);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
    }
    close(pair[0]);
    return result;
}

int bridge_tap_open(const char *name, const char *bridge, pid_t namespace_pid)
{
    if (strlen(name) >= IFNAMSIZ || strlen(bridge) >= IFNAMSIZ)
        return -ENODEV;
    return namespace_pid == 0 ? open_port(name, bridge)
                              : open_elsewhere(name, bridge, namespace_pid);
}
