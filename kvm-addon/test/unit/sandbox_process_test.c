/* Forbidden system calls of any thread of a confined process, in a child process each. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "../../src/sandbox/sandbox.h"
#include "../sandbox_child.h"

static void start_program(void)
{
    char *words[] = {"/bin/true", NULL};
    execve(words[0], words, NULL);
}

static void type_into_terminal(void)
{
    ioctl(0, TIOCSTI, "x");
}

static void fork_process(void)
{
    syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void open_internet_socket(void)
{
    socket(AF_INET, SOCK_STREAM, 0);
}

static void do_nothing(void)
{
}

static void change_mode(void)
{
    syscall(SYS_chmod, "/nowhere", 0777);
}

static void attach_debugger(void)
{
    syscall(SYS_ptrace, 0, 0, 0, 0);
}

static void make_namespace(void)
{
    syscall(SYS_unshare, 0x10000000);
}

static void load_bpf(void)
{
    syscall(SYS_bpf, 0, 0, 0);
}

static void set_times(void)
{
    syscall(SYS_utimensat, AT_FDCWD, "/nowhere", NULL, 0);
}

static void signal_thread(void)
{
    syscall(SYS_tgkill, 1, 1, 0);
}

static void become_root(void)
{
    syscall(SYS_setuid, 0);
}

static void connect_socket(void)
{
    connect(0, NULL, 0);
}

static const struct attempt ATTEMPTS[] = {
    {"execve", start_program},        {"clone", fork_process},
    {"socket", open_internet_socket}, {"ioctl with request 0x5412", type_into_terminal},
    {"chmod", change_mode},           {"ptrace", attach_debugger},
    {"unshare", make_namespace},      {"bpf", load_bpf},
    {"utimensat", set_times},         {"tgkill", signal_thread},
    {"setuid", become_root},          {"connect", connect_socket},
};

/* What JavaScript does: files, threads, sockets of its own. */
static void *work_as_javascript(void *argument)
{
    (void)argument;
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    if (server < 0 || kill(1, 0) == 0 || errno != EPERM || kill(getpid(), 0) < 0)
        _exit(7);
    close(server);
    if (syscall(SYS_io_uring_setup, 1, NULL) == 0 || errno != EPERM)
        _exit(8);
    return NULL;
}

struct intruder {
    void (*make)(void);
    bool connects;
    bool other_thread; /* one that was there before */
    volatile bool confined;
};

static void *waiting_main(void *argument)
{
    struct intruder *intruder = argument;
    while (!intruder->confined)
        sched_yield();
    intruder->make();
    _exit(EXIT_DONE);
}

static void intrude(void *argument)
{
    struct intruder *intruder = argument;
    struct sandbox_needs needs = {.connects = intruder->connects};
    struct sandbox_report report;
    pthread_t thread;
    if (intruder->other_thread && pthread_create(&thread, NULL, waiting_main, intruder) != 0)
        _exit(4);
    if (sandbox_confine_process(&needs, &report) < 0)
        _exit(5);
    if (intruder->other_thread) {
        intruder->confined = true;
        pthread_join(thread, NULL);
    }
    /* New threads, too. */
    if (pthread_create(&thread, NULL, work_as_javascript, NULL) != 0)
        _exit(6);
    pthread_join(thread, NULL);
    intruder->make();
    _exit(EXIT_DONE);
}

static void test_forbidden_calls(void)
{
    for (size_t i = 0; i < 2 * sizeof ATTEMPTS / sizeof *ATTEMPTS; i++) {
        const struct attempt *attempt = &ATTEMPTS[i / 2];
        struct intruder intruder = {.make = attempt->make, .other_thread = i % 2 != 0};
        check_forbidden(intrude, &intruder, "a thread of JavaScript", attempt);
    }
}

static void test_allowed(void)
{
    char text[1024];
    struct intruder innocent = {.make = do_nothing};
    CHECK(child_run(intrude, &innocent, text, sizeof text) == EXIT_DONE);
    struct intruder connecting = {.make = connect_socket, .connects = true};
    CHECK(child_run(intrude, &connecting, text, sizeof text) == EXIT_DONE);
}

/* A thread with a filter of its own can get no other: the process must be confined before. */
static void *early_main(void *argument)
{
    sandbox_enter_thread(SANDBOX_QUEUE);
    *(volatile bool *)argument = true;
    for (;;)
        sched_yield();
    return NULL;
}

static void confine_late(void *argument)
{
    (void)argument;
    volatile bool entered = false;
    struct sandbox_needs needs = {0};
    struct sandbox_report report;
    pthread_t thread;
    if (sandbox_enable_threads() < 0 ||
        pthread_create(&thread, NULL, early_main, (void *)&entered) != 0)
        _exit(4);
    while (!entered)
        sched_yield();
    _exit(sandbox_confine_process(&needs, &report) == -EBUSY ? EXIT_DONE : 5);
}

static void test_late(void)
{
    char text[1024];
    CHECK(child_run(confine_late, NULL, text, sizeof text) == EXIT_DONE);
}

int main(void)
{
    test_forbidden_calls();
    test_allowed();
    test_late();
    return check_finish();
}
