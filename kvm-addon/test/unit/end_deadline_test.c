#include "../../src/util/end_deadline.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../check.h"

#define GRACE_MS 400

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

/* A process that never ends by itself. Written to `ready` once its handlers are set. */
static pid_t busy_process(bool ends_at_once)
{
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        static const int SIGNALS[] = {SIGTERM, SIGHUP, SIGINT};
        for (int i = 0; i < 3; i++)
            signal(SIGNALS[i], on_signal);
        if (end_deadline_set(SIGNALS, 3, GRACE_MS) < 0)
            _exit(1);
        (void)!write(ready[1], "x", 1);
        for (;;)
            if (ends_at_once && handled)
                _exit(7);
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

/* Its exit code, and how long it took from `start_ms` on. */
static int exit_code(pid_t child, long start_ms, long *took_ms)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    *took_ms = now_ms() - start_ms;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void)
{
    long took, start;
    pid_t child = busy_process(true);
    start = now_ms();
    kill(child, SIGTERM);
    CHECK(exit_code(child, start, &took) == 7); /* its own handler was called */

    child = busy_process(false);
    start = now_ms();
    kill(child, SIGINT);
    CHECK(exit_code(child, start, &took) == 128 + SIGINT);
    CHECK(took >= GRACE_MS - 20);

    /* Again, soon and later. */
    child = busy_process(false);
    start = now_ms();
    kill(child, SIGTERM);
    kill(child, SIGTERM);
    sleep_ms(END_REPEAT_MIN_MS / 2);
    kill(child, SIGTERM);
    sleep_ms(END_REPEAT_MIN_MS);
    CHECK(waitpid(child, NULL, WNOHANG) == 0);
    kill(child, SIGTERM);
    CHECK(exit_code(child, start, &took) == 128 + SIGTERM);
    CHECK(took < GRACE_MS - 20);

    /* A terminal that closes sends SIGHUP more than once. */
    child = busy_process(false);
    start = now_ms();
    kill(child, SIGHUP);
    sleep_ms(END_REPEAT_MIN_MS * 2);
    kill(child, SIGHUP);
    CHECK(exit_code(child, start, &took) == 128 + SIGHUP);
    CHECK(took >= GRACE_MS - 20);

    static const int BAD[] = {NSIG};
    CHECK(end_deadline_set(BAD, 1, GRACE_MS) == -EINVAL);
    CHECK(end_deadline_set(BAD, 1, GRACE_MS) == -EALREADY);
    return check_finish();
}
