#include "terminal.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* The terminal that is raw, and its settings before; -1: none is. Written by one thread. */
static volatile sig_atomic_t raw_fd = -1;
static struct termios before_raw;

int terminal_make_raw(int fd, struct termios *saved)
{
    if (tcgetattr(fd, saved) < 0)
        return -errno;
    /* Once more, after another program had the terminal: the first settings are restored. */
    if (raw_fd < 0)
        before_raw = *saved;
    struct termios raw = *saved;
    cfmakeraw(&raw);
    /* Not TCSADRAIN, which would wait forever for output that nobody reads. */
    if (tcsetattr(fd, TCSANOW, &raw) < 0)
        return -errno;
    raw_fd = fd;
    return 0;
}

bool terminal_is_ours(int fd)
{
    /* Fails unless it is the controlling terminal; others have no background processes. */
    pid_t foreground = tcgetpgrp(fd);
    return foreground < 0 || foreground == getpgrp();
}

int terminal_restore(int fd, const struct termios *saved)
{
    if (!terminal_is_ours(fd))
        return 0;
    /* The process must not stop if it moves to the background at this moment. */
    sigset_t stop;
    sigset_t before;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &stop, &before);
    int error = tcsetattr(fd, TCSANOW, saved) < 0 ? -errno : 0;
    if (fd == raw_fd)
        raw_fd = -1;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

void terminal_restore_at_end(void)
{
    if (raw_fd >= 0)
        terminal_restore(raw_fd, &before_raw);
}
