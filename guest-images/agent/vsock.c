#include "vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define BACKLOG 1024
// What the host may send before the agent has taken it, for each connection: as much as the driver
// has buffers for, four times the kernel's default. With that one the host's packets get small, and
// a stream to the guest costs twice the guest's time.
#define RECEIVE_BYTES (1u << 20)

static int open_socket(void)
{
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int vsock_dial(uint32_t port)
{
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int fd = open_socket();
    if (fd < 0)
        return fd;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

// Accepted connections inherit it. A smaller buffer is slower, no more.
static void enlarge_buffer(int fd)
{
    uint64_t bytes = RECEIVE_BYTES;
    setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &bytes, sizeof bytes);
    setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, sizeof bytes);
}

int vsock_listen(uint32_t port)
{
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    int fd = open_socket();
    if (fd < 0)
        return fd;
    enlarge_buffer(fd);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int vsock_accept(int listener)
{
    struct sockaddr_vm peer;
    socklen_t length = sizeof peer;
    int fd = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (peer.svm_cid == VMADDR_CID_HOST)
        return fd;
    close(fd);
    return -EPERM;
}

int write_all(int fd, const void *data, size_t length)
{
    const uint8_t *rest = data;
    while (length > 0) {
        ssize_t count = write(fd, rest, length);
        if (count < 0 && errno == EAGAIN) {
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
            continue;
        }
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        rest += count;
        length -= (size_t)count;
    }
    return 0;
}
