/* Forbidden system calls of each kind of thread, in a child process each. */
#include "../../src/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/backend/io_engine.h"
#include "../../src/util/terminal.h"
#include "../sandbox_child.h"

static void open_file(void)
{
    syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void start_program(void)
{
    char *words[] = {"/bin/true", NULL};
    execve(words[0], words, NULL);
}

static void make_code(void)
{
    mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void make_memory_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static void type_into_terminal(void)
{
    ioctl(0, TIOCSTI, "x");
}

static void make_ring(void)
{
    struct io_uring_params params = {0};
    syscall(SYS_io_uring_setup, 8, &params);
}

static void fork_process(void)
{
    syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void open_internet_socket(void)
{
    socket(AF_INET, SOCK_STREAM, 0);
}

static void kill_init(void)
{
    kill(1, 0);
}

/* A number that no kernel has. */
static void call_unknown(void)
{
    syscall(9999);
}

static const struct attempt ATTEMPTS[] = {
    {"openat", open_file},
    {"execve", start_program},
    {"mmap", make_code},
    {"mprotect", make_memory_code},
    {"ioctl with request 0x5412", type_into_terminal},
    {"io_uring_setup", make_ring},
    {"clone", fork_process},
    {"socket", open_internet_socket},
    {"kill", kill_init},
    {"number 9999", call_unknown},
};
#define ATTEMPT_COUNT (sizeof ATTEMPTS / sizeof *ATTEMPTS)

static const char *const KINDS[SANDBOX_THREAD_KINDS] = {
    "a vCPU thread",
    "a queue worker",
    "a disk's queue worker",
    "a network's queue worker",
    "a socket device's queue worker",
};

struct intruder {
    enum sandbox_thread kind;
    void (*make)(void);
};

static void *intruder_main(void *argument)
{
    const struct intruder *intruder = argument;
    sandbox_enter_thread(intruder->kind);
    intruder->make();
    _exit(EXIT_DONE);
}

/* As threads of the product are created: with all signals blocked. */
static void thread_run(void *(*main)(void *), void *argument)
{
    pthread_t thread;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    if (pthread_create(&thread, NULL, main, argument) != 0)
        _exit(1);
    pthread_join(thread, NULL);
    _exit(2);
}

static void intrude_confined(void *argument)
{
    if (sandbox_enable_threads() < 0 || sandbox_enable_threads() < 0)
        _exit(4);
    thread_run(intruder_main, argument);
}

static void intrude_freely(void *argument)
{
    thread_run(intruder_main, argument);
}

static void test_forbidden_calls(void)
{
    for (int kind = 0; kind < SANDBOX_THREAD_KINDS; kind++) {
        for (size_t i = 0; i < ATTEMPT_COUNT; i++) {
            struct intruder intruder = {(enum sandbox_thread)kind, ATTEMPTS[i].make};
            check_forbidden(intrude_confined, &intruder, KINDS[kind], &ATTEMPTS[i]);
        }
    }
}

static void do_nothing(void)
{
}

/* Without sandbox_enable_threads(), nothing changes; with it, an innocent thread goes on. */
static void test_allowed(void)
{
    char text[1024];
    struct intruder free_one = {SANDBOX_VCPU, open_file};
    CHECK(child_run(intrude_freely, &free_one, text, sizeof text) == EXIT_DONE);
    for (int kind = 0; kind < SANDBOX_THREAD_KINDS; kind++) {
        struct intruder innocent = {(enum sandbox_thread)kind, do_nothing};
        int code = child_run(intrude_confined, &innocent, text, sizeof text);
        if (!CHECK(code == EXIT_DONE && text[0] == 0))
            fprintf(stderr, "exit code %d, message: %s\n", code, text);
    }
}

static void sync_done(struct io_op *op, int error)
{
    (void)op;
    _exit(error == 0 ? EXIT_DONE : 6);
}

/* A disk's worker whose engine starts a thread. */
static void *pool_worker_main(void *argument)
{
    struct io_engine *engine;
    if (io_engine_create_threads(&engine) < 0)
        _exit(5);
    sandbox_enter_thread(SANDBOX_BLOCK);
    struct io_op op = {.kind = IO_DATASYNC, .fd = *(int *)argument, .done = sync_done};
    io_engine_attach(engine);
    io_engine_submit(engine, &op);
    io_engine_send(engine);
    for (;;) {
        io_engine_reap(engine);
        sched_yield();
    }
}

static void pool_run(void *argument)
{
    if (sandbox_enable_threads() < 0)
        _exit(4);
    thread_run(pool_worker_main, argument);
}

static void test_thread_pool(void)
{
    char text[1024];
    int file = memfd_create("disk", MFD_CLOEXEC);
    int code = child_run(pool_run, &file, text, sizeof text);
    if (!CHECK(code == EXIT_DONE))
        fprintf(stderr, "exit code %d, message: %s\n", code, text);
    close(file);
}

/* SIGSYS that another process sends has its default effect. */
static void test_sent_signal(void)
{
    pid_t child = fork();
    if (child == 0) {
        sandbox_enable_threads();
        raise(SIGSYS);
        _exit(1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

/* The message comes on a terminal that is as it was. */
static void test_terminal(void)
{
    int master, slave;
    CHECK(openpty(&master, &slave, NULL, NULL, NULL) == 0);
    struct termios before = {0}, after = {0};
    CHECK(tcgetattr(slave, &before) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct termios saved;
        dup2(slave, STDERR_FILENO);
        if (terminal_make_raw(slave, &saved) < 0)
            _exit(1);
        struct intruder intruder = {SANDBOX_VCPU, open_file};
        intrude_confined(&intruder);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FORBIDDEN);
    CHECK(tcgetattr(slave, &after) == 0);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    /* With no process on the other side, EIO follows the last byte. */
    close(slave);
    char text[1024] = "";
    size_t length = 0;
    ssize_t got;
    while ((got = read(master, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    CHECK(strstr(text, "openat") != NULL);
    CHECK(strstr(text, "\r\n") != NULL);
    close(master);
}

int main(void)
{
    test_forbidden_calls();
    test_allowed();
    test_thread_pool();
    test_sent_signal();
    test_terminal();
    return check_finish();
}
