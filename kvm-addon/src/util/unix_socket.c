#include "unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The kernel limits it to net.core.somaxconn. */
#define BACKLOG 4096

static int address_init(struct sockaddr_un *address, const char *path)
{
    size_t length = strlen(path);

    if (length > UNIX_SOCKET_PATH_MAX)
        return -ENAMETOOLONG;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, length);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static int result_of(int fd, int status)
{
    if (status == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

int unix_socket_listen(const char *path)
{
    struct sockaddr_un address;
    int fd = address_init(&address, path);

    if (fd < 0)
        return fd == -ENAMETOOLONG ? fd : -errno;
    int status = bind(fd, (struct sockaddr *)&address, sizeof address);
    if (status == 0)
        status = listen(fd, BACKLOG);
    return result_of(fd, status);
}

int unix_socket_connect(const char *path)
{
    struct sockaddr_un address;
    int fd = address_init(&address, path);

    if (fd < 0)
        return fd == -ENAMETOOLONG ? fd : -errno;
    return result_of(fd, connect(fd, (struct sockaddr *)&address, sizeof address));
}
