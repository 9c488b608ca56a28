#include "fd_passing.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union control {
    char bytes[CMSG_SPACE(FD_PASSING_MAX * sizeof(int))];
    struct cmsghdr align;
};

ssize_t fd_passing_send(int socket, const void *bytes, size_t length, const int *fds,
                        size_t fd_count)
{
    if (length == 0 || fd_count > FD_PASSING_MAX)
        return -EINVAL;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union control control;
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof *fds);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fd_count * sizeof *fds);
        memcpy(CMSG_DATA(rights), fds, fd_count * sizeof *fds);
    }

    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    return errno == EAGAIN ? 0 : -errno;
}

/* Copies the descriptors of a message to `fds` and closes the surplus ones. */
static size_t take_fds(struct msghdr *message, int *fds, size_t fds_max)
{
    size_t count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t present = (part->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
        for (size_t i = 0; i < present; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (count < fds_max)
                fds[count] = fd;
            else
                close(fd);
            count++;
        }
    }
    return count;
}

ssize_t fd_passing_receive(int socket, void *bytes, size_t length, int *fds, size_t fds_max,
                           size_t *fd_count)
{
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    union control control;
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control,
    };
    *fd_count = 0;

    ssize_t received;
    do {
        received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    if (received < 0)
        return -errno;
    size_t present = take_fds(&message, fds, fds_max);
    if (present > fds_max || (message.msg_flags & MSG_CTRUNC)) {
        for (size_t i = 0; i < present && i < fds_max; i++)
            close(fds[i]);
        return -EMSGSIZE;
    }
    *fd_count = present;
    return received;
}
