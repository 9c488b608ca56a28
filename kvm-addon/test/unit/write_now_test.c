#include "../../src/util/write_now.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../check.h"

#define CHUNK 65536u

static uint8_t chunk[CHUNK];

/* Writes until nothing more is taken, and returns how much was. */
static size_t fill(int fd)
{
    size_t total = 0;
    for (ssize_t written; (written = write_now(fd, chunk, sizeof chunk)) > 0;)
        total += (size_t)written;
    return total;
}

static void test_stream(const int ends[2])
{
    CHECK(write_now(ends[1], "abc", 3) == 3);
    char text[4] = "";
    CHECK(read(ends[0], text, 3) == 3 && strcmp(text, "abc") == 0);

    /* Nobody reads, and the descriptor would block. */
    CHECK(!(fcntl(ends[1], F_GETFL) & O_NONBLOCK));
    size_t total = fill(ends[1]);
    CHECK(total >= CHUNK);
    CHECK(write_now(ends[1], "x", 1) == 0);
    while (total > 0) {
        ssize_t taken = read(ends[0], chunk, sizeof chunk);
        CHECK(taken > 0);
        if (taken <= 0)
            return;
        total -= (size_t)taken;
    }
    CHECK(write_now(ends[1], "x", 1) == 1);

    close(ends[0]);
    CHECK(write_now(ends[1], "x", 1) == -EPIPE);
    close(ends[1]);
}

int main(void)
{
    int ends[2];
    signal(SIGPIPE, SIG_IGN);
    CHECK(pipe(ends) == 0);
    test_stream(ends);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    test_stream(ends);
    CHECK(write_now(-1, "x", 1) == -EBADF);
    return check_finish();
}
