#include "../../src/util/end_deadline.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../check.h"

#define GRACE_MS 400
/* What does not happen in a test. */
#define NEVER_MS 600000

static volatile sig_atomic_t handled;

static void on_signal(int signal)
{
    handled = signal;
}

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) < 0 && errno == EINTR)
        ;
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct child {
    pid_t pid;
    int events; /* to read a byte from when its handlers are set, and when one has been called */
};

static void expect_event(const struct child *child)
{
    char byte;
    CHECK(read(child->events, &byte, 1) == 1);
}

/* A process that never ends by itself, and whose handlers are set. */
static struct child busy_process(bool ends_at_once, struct end_times times)
{
    int events[2];
    CHECK(pipe(events) == 0);
    struct child child = {.pid = fork(), .events = events[0]};
    if (child.pid == 0) {
        static const int SIGNALS[] = {SIGTERM, SIGHUP, SIGINT};
        for (int i = 0; i < 3; i++)
            signal(SIGNALS[i], on_signal);
        if (end_deadline_set(SIGNALS, 3, &times) < 0)
            _exit(1);
        (void)!write(events[1], "x", 1);
        for (;;) {
            if (!handled)
                continue;
            if (ends_at_once)
                _exit(7);
            handled = 0;
            (void)!write(events[1], "x", 1);
        }
    }
    close(events[1]);
    expect_event(&child);
    return child;
}

/* Its exit code, and how long it took from `start_ms` on. */
static int exit_code(struct child child, long start_ms, long *took_ms)
{
    int status;
    CHECK(waitpid(child.pid, &status, 0) == child.pid);
    close(child.events);
    *took_ms = now_ms() - start_ms;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void)
{
    long took, start;
    struct end_times by_deadline = {.grace_ms = GRACE_MS, .repeat_min_ms = NEVER_MS};
    struct child child = busy_process(true, by_deadline);
    start = now_ms();
    kill(child.pid, SIGTERM);
    CHECK(exit_code(child, start, &took) == 7); /* its own handler was called */

    child = busy_process(false, by_deadline);
    start = now_ms();
    kill(child.pid, SIGINT);
    CHECK(exit_code(child, start, &took) == 128 + SIGINT);
    CHECK(took >= GRACE_MS - 20);

    /* Again, so soon that it is the same request. */
    child = busy_process(false, by_deadline);
    start = now_ms();
    kill(child.pid, SIGTERM);
    expect_event(&child);
    kill(child.pid, SIGTERM);
    CHECK(exit_code(child, start, &took) == 128 + SIGTERM);
    CHECK(took >= GRACE_MS - 20);

    /* Again, later. */
    struct end_times by_repeat = {.grace_ms = NEVER_MS, .repeat_min_ms = 20};
    child = busy_process(false, by_repeat);
    start = now_ms();
    kill(child.pid, SIGTERM);
    expect_event(&child);
    sleep_ms(40);
    kill(child.pid, SIGTERM);
    CHECK(exit_code(child, start, &took) == 128 + SIGTERM);
    CHECK(took < NEVER_MS / 2);

    /* A terminal that closes sends SIGHUP more than once. */
    child = busy_process(false, (struct end_times){.grace_ms = GRACE_MS, .repeat_min_ms = 0});
    start = now_ms();
    kill(child.pid, SIGHUP);
    expect_event(&child);
    kill(child.pid, SIGHUP);
    CHECK(exit_code(child, start, &took) == 128 + SIGHUP);
    CHECK(took >= GRACE_MS - 20);

    static const int BAD[] = {NSIG};
    CHECK(end_deadline_set(BAD, 1, &by_deadline) == -EINVAL);
    CHECK(end_deadline_set(BAD, 1, &by_deadline) == -EALREADY);
    return check_finish();
}
