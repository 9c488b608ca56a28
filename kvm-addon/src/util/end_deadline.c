#include "end_deadline.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

/* State of the signal handler: written before the handler is installed, or by the handler. */
static struct sigaction previous[NSIG];
static timer_t timer;
static struct itimerspec deadline;
static volatile sig_atomic_t first_signal;
static volatile sig_atomic_t seen[NSIG];
static struct timespec first_time;
static long repeat_min_ms;

static void end_process(int signal)
{
    _exit(128 + signal);
}

/* The timer's signal. Not SIGALRM, because an alarm(2) set before exec may still be pending. */
static int deadline_signal(void)
{
    return SIGRTMIN + 1;
}

/* Not if it would have to wait for a reader, which would keep the process from ending. */
static void tell_user(void)
{
    static const char TEXT[] = "tsvm: error: the machine did not end in time: ending it now\n";
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&room, 1, 0) == 1 && (room.revents & POLLOUT) != 0)
        (void)!write(STDERR_FILENO, TEXT, sizeof TEXT - 1);
}

static void on_deadline(int signal)
{
    (void)signal;
    if (first_signal == 0)
        return;
    tell_user();
    end_process(first_signal);
}

/* Otherwise accessing the terminal from the background would stop the process again. */
static void ignore_terminal_stops(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGTTIN, &ignore, NULL);
    sigaction(SIGTTOU, &ignore, NULL);
}

static long ms_since_first(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - first_time.tv_sec) * 1000 + (now.tv_nsec - first_time.tv_nsec) / 1000000;
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    if (first_signal == 0) {
        first_signal = signal;
        clock_gettime(CLOCK_MONOTONIC, &first_time);
        timer_settime(timer, 0, &deadline, NULL);
        ignore_terminal_stops();
    } else if (seen[signal] && signal != SIGHUP && ms_since_first() >= repeat_min_ms) {
        end_process(signal);
    }
    seen[signal] = 1;
    const struct sigaction *old = &previous[signal];
    if (old->sa_flags & SA_SIGINFO)
        old->sa_sigaction(signal, info, context);
    else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN)
        old->sa_handler(signal);
    errno = saved_errno;
}

static int install(int signal)
{
    if (signal <= 0 || signal >= NSIG)
        return -EINVAL;
    if (sigaction(signal, NULL, &previous[signal]) < 0)
        return -errno;
    struct sigaction action = previous[signal];
    action.sa_sigaction = on_signal;
    action.sa_flags |= SA_SIGINFO | SA_RESTART;
    /* Block other signals in the handler, because all handlers share the state above. */
    sigfillset(&action.sa_mask);
    return sigaction(signal, &action, NULL) < 0 ? -errno : 0;
}

int end_deadline_set(const int *signals, size_t count, const struct end_times *times)
{
    static bool set;
    if (set)
        return -EALREADY;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = deadline_signal()};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
        return -errno;
    set = true;
    repeat_min_ms = times->repeat_min_ms;
    deadline.it_value.tv_sec = times->grace_ms / 1000;
    deadline.it_value.tv_nsec = (long)(times->grace_ms % 1000) * 1000000;
    struct sigaction action = {.sa_handler = on_deadline};
    sigaction(deadline_signal(), &action, NULL);
    for (size_t i = 0; i < count; i++) {
        int error = install(signals[i]);
        if (error < 0)
            return error;
    }
    return 0;
}
