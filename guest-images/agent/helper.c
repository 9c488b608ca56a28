#include "helper.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void outlive_others(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!write(fd, "-1000", 5);
    close(fd);
}

void helper_begin(const int *fds, size_t count)
{
    int copies[8];
    // First out of the way of each other.
    for (size_t i = 0; i < count; i++)
        copies[i] = fcntl(fds[i], F_DUPFD, HELPER_FD + (int)count);
    for (size_t i = 0; i < count; i++)
        dup2(copies[i], HELPER_FD + (int)i);
    syscall(SYS_close_range, HELPER_FD + (unsigned)count, ~0U, 0U);
    outlive_others();
}
