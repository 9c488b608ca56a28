#include "../../src/util/fd_passing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../check.h"

static size_t count_open_files(void)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static bool is_same_file(int one, int other)
{
    struct stat a;
    struct stat b;
    return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static void test_pass(const int ends[2])
{
    int files[2];
    int fds[4];
    size_t count = 9;
    char text[8] = "";
    CHECK(pipe(files) == 0);

    CHECK(fd_passing_receive(ends[1], text, sizeof text, fds, 4, &count) == -EAGAIN);
    CHECK(count == 0);
    CHECK(fd_passing_send(ends[0], "two", 3, files, 2) == 3);
    CHECK(fd_passing_send(ends[0], "none", 4, NULL, 0) == 4);
    /* A message with descriptors is not joined with the next one. */
    CHECK(fd_passing_receive(ends[1], text, sizeof text, fds, 4, &count) == 3);
    CHECK(count == 2 && memcmp(text, "two", 3) == 0);
    for (size_t i = 0; i < 2; i++) {
        CHECK(fds[i] != files[i] && is_same_file(fds[i], files[i]));
        CHECK(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        close(fds[i]);
    }
    CHECK(fd_passing_receive(ends[1], text, sizeof text, fds, 4, &count) == 4 && count == 0);
    close(files[0]);
    close(files[1]);
}

static void test_too_many(const int ends[2])
{
    int many[FD_PASSING_MAX + 1];
    int fds[2];
    size_t count;
    char byte;
    for (size_t i = 0; i < FD_PASSING_MAX + 1; i++)
        many[i] = ends[0];
    CHECK(fd_passing_send(ends[0], "x", 1, many, FD_PASSING_MAX + 1) == -EINVAL);
    CHECK(fd_passing_send(ends[0], "", 0, many, 1) == -EINVAL);

    size_t before = count_open_files();
    CHECK(fd_passing_send(ends[0], "x", 1, many, FD_PASSING_MAX) == 1);
    CHECK(fd_passing_receive(ends[1], &byte, 1, fds, 2, &count) == -EMSGSIZE);
    CHECK(count == 0 && count_open_files() == before);
    /* The stream goes on. */
    CHECK(fd_passing_send(ends[0], "y", 1, many, 1) == 1);
    CHECK(fd_passing_receive(ends[1], &byte, 1, fds, 2, &count) == 1 && byte == 'y');
    CHECK(count == 1);
    close(fds[0]);
}

static void test_full_and_closed(int ends[2])
{
    static uint8_t chunk[65536];
    int fds[1];
    size_t count;
    char byte;
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    while (fd_passing_send(ends[0], chunk, sizeof chunk, &file, 1) > 0)
        ;
    CHECK(fd_passing_send(ends[0], chunk, sizeof chunk, &file, 1) == 0);
    close(file);
    close(ends[0]);
    CHECK(fd_passing_send(ends[1], "x", 1, NULL, 0) == -EPIPE);
    ssize_t received;
    while ((received = fd_passing_receive(ends[1], chunk, sizeof chunk, fds, 1, &count)) > 0)
        for (size_t i = 0; i < count; i++)
            close(fds[i]);
    CHECK(received == 0);
    CHECK(fd_passing_send(-1, "x", 1, NULL, 0) == -EBADF);
    CHECK(fd_passing_receive(-1, &byte, 1, fds, 1, &count) == -EBADF);
    close(ends[1]);
}

int main(void)
{
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    test_pass(ends);
    test_too_many(ends);
    test_full_and_closed(ends);
    return check_finish();
}
