#include "every_thread.h"

#include <dirent.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 512
#define NS_PER_S 1000000000l
/* How often a thread is looked for that has not had its turn. */
#define LOOK_NS 100000000l
/* A minute: on a busy host, a thread may get no processor for seconds. */
#define LOOKS_MAX 600

/* Threads of the kernel in this process: they run no code of it and take no signals. */
#define PF_IO_WORKER 0x10u
#define PF_USER_WORKER 0x4000u

/* State of the signal handler. */
static int (*current_action)(void *context);
static void *current_context;
static int current_error;
static sem_t done;

/*
 * The C library's signal for the same purpose: it has setuid(2) and others done by each thread. No
 * thread can block it. Its functions refuse to touch this signal, so the kernel is asked.
 */
#define TURN_SIGNAL 33 /* SIGSETXID */

/* The kernel's struct sigaction. */
struct kernel_action {
    void (*handler)(int signal);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

static int action_set(const struct kernel_action *action, struct kernel_action *before)
{
    long result = syscall(SYS_rt_sigaction, TURN_SIGNAL, action, before, sizeof action->mask);
    return result < 0 ? -errno : 0;
}

static void on_turn(int signal)
{
    (void)signal;
    int saved_errno = errno;
    current_error = current_action(current_context);
    sem_post(&done);
    errno = saved_errno;
}

static bool is_kernel_thread(const char *thread)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", thread);
    FILE *file = fopen(path, "re");
    if (!file)
        return true; /* it has ended */
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    /* proc(5): (comm) state ppid pgrp session tty_nr tpgid flags; comm may contain anything. */
    const char *rest = strrchr(text, ')');
    unsigned flags = 0;
    if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
        return false;
    return flags & (PF_IO_WORKER | PF_USER_WORKER);
}

/* Waits a moment for the end of a turn. Returns 0, -ETIMEDOUT or another -errno. */
static int turn_await(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_NS;
    until.tv_sec += until.tv_nsec / NS_PER_S;
    until.tv_nsec %= NS_PER_S;
    int result;
    do {
        result = sem_clockwait(&done, CLOCK_MONOTONIC, &until);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}

/* A turn for one thread. */
static int turn(pid_t thread)
{
    if (syscall(SYS_tgkill, getpid(), thread, TURN_SIGNAL) < 0)
        return errno == ESRCH ? 0 : -errno;
    int error = -ETIMEDOUT;
    for (unsigned looks = 0; error == -ETIMEDOUT && looks < LOOKS_MAX; looks++) {
        error = turn_await();
        /* It may have ended before its turn. */
        if (error == -ETIMEDOUT && syscall(SYS_tgkill, getpid(), thread, 0) < 0)
            return sem_trywait(&done) == 0 ? current_error : 0;
    }
    return error < 0 ? error : current_error;
}

struct turns {
    pid_t threads[THREADS_MAX];
    unsigned count;
};

static bool has_had(const struct turns *turns, pid_t thread)
{
    for (unsigned i = 0; i < turns->count; i++) {
        if (turns->threads[i] == thread)
            return true;
    }
    return false;
}

/* A turn for each thread that had none. Returns how many there were, or -errno. */
static int turns_take(struct turns *turns)
{
    DIR *folder = opendir("/proc/self/task");
    if (!folder)
        return -errno;
    int taken = 0;
    for (struct dirent *entry; taken >= 0 && (entry = readdir(folder)) != NULL;) {
        pid_t thread = atoi(entry->d_name);
        if (thread <= 0 || has_had(turns, thread) || is_kernel_thread(entry->d_name))
            continue;
        if (turns->count == THREADS_MAX) {
            taken = -EAGAIN;
            break;
        }
        turns->threads[turns->count++] = thread;
        int error = turn(thread);
        taken = error < 0 ? error : taken + 1;
    }
    closedir(folder);
    return taken;
}

/* Takes over the signal, with the library's own return from handlers. */
static int handler_replace(struct kernel_action *before)
{
    int error = action_set(NULL, before);
    if (error < 0)
        return error;
    struct kernel_action action = *before;
    action.handler = on_turn;
    action.mask = ~0ull;
    /* A process that has not had a second thread has no handler, and nothing to do either. */
    return before->restorer ? action_set(&action, NULL) : 0;
}

int every_thread_run(int (*action)(void *context), void *context)
{
    static struct turns turns;
    struct kernel_action before;
    turns = (struct turns){.threads = {gettid()}, .count = 1};
    current_action = action;
    current_context = context;
    int error = sem_init(&done, 0, 0) < 0 ? -errno : handler_replace(&before);
    if (error < 0)
        return error;
    int taken;
    do {
        taken = turns_take(&turns);
    } while (taken > 0);
    /* The semaphore stays: a thread that was too late may still post it. */
    if (before.restorer)
        action_set(&before, NULL);
    return taken < 0 ? taken : action(context);
}
