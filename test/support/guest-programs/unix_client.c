/*
 * unix_client PATH: connects to a unix socket, sends its input, shuts down its direction and prints
 * the answer.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CHUNK 65536

static char buffer[CHUNK];

static int copy(int from, int to)
{
    ssize_t length;
    while ((length = read(from, buffer, sizeof buffer)) > 0) {
        for (ssize_t sent = 0; sent < length;) {
            ssize_t count = write(to, buffer + sent, (size_t)(length - sent));
            if (count < 0)
                return -1;
            sent += count;
        }
    }
    return (int)length;
}

int main(int count, char **arguments)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (count != 2)
        return 2;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", arguments[1]);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("connect");
        return 1;
    }
    pid_t sender = fork();
    if (sender == 0) {
        int result = copy(STDIN_FILENO, fd);
        shutdown(fd, SHUT_WR);
        _exit(result < 0);
    }
    return copy(fd, STDOUT_FILENO) < 0;
}
