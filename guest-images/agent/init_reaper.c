#include "init_reaper.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_SIGNALLED 128

// Signals of a fault in the reaper itself are not forwarded.
static const int own_signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};

// Reaps all that have ended; ends when the child has.
static void reap(pid_t child)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == child)
            _exit(WIFSIGNALED(status) ? EXIT_SIGNALLED + WTERMSIG(status) : WEXITSTATUS(status));
    }
}

static _Noreturn void attend(pid_t child, const sigset_t *signals)
{
    prctl(PR_SET_NAME, "tsvm-init", 0, 0, 0);
    // Nothing of the agent's, nor a stream whose end somebody awaits, stays open here.
    syscall(SYS_close_range, 0U, ~0U, 0U);
    for (;;) {
        siginfo_t info;
        int signal = sigwaitinfo(signals, &info);
        if (signal == SIGCHLD)
            reap(child);
        else if (signal > 0)
            kill(child, signal);
    }
}

void init_reaper_fork(bool has_terminal)
{
    sigset_t signals, before;
    sigfillset(&signals);
    for (size_t i = 0; i < sizeof own_signals / sizeof own_signals[0]; i++)
        sigdelset(&signals, own_signals[i]);
    sigprocmask(SIG_SETMASK, &signals, &before);
    pid_t child = fork();
    if (child > 0)
        attend(child, &signals);
    // The terminal's signals go to the child's group.
    if (child == 0) {
        setpgid(0, 0);
        if (has_terminal) {
            signal(SIGTTOU, SIG_IGN);
            tcsetpgrp(STDIN_FILENO, getpid());
            signal(SIGTTOU, SIG_DFL);
        }
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}
