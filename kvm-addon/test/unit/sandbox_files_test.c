/*
 * What code that runs in a confined process reaches: attempt by attempt, in threads that were there
 * before and in new ones. Parts need Landlock, others root; what is left out is printed.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "../../src/sandbox/cleaner.h"
#include "../../src/sandbox/landlock.h"
#include "../../src/sandbox/namespaces.h"
#include "../../src/sandbox/sandbox.h"
#include "../host_file.h"
#include "../sandbox_child.h"

#define USER 0x74fffff0u

/* The files of the test: what is given to the process, and what is the host's. */
static char folder[PATH_MAX];
static pid_t victim; /* another process of the same user */

static void make_file(const char *name, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, mode);
    CHECK(fd >= 0 && write(fd, "content", 7) == 7);
    close(fd);
}

/* A listener of the host; the name of an abstract one begins with a zero. */
static struct sockaddr_un unix_address(const char *name, bool is_abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + is_abstract, sizeof address.sun_path - 1, "%.100s", name);
    return address;
}

static int listen_unix(const char *name, bool is_abstract)
{
    const struct sockaddr_un address = unix_address(name, is_abstract);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 8) == 0);
    return fd;
}

static int connect_unix(const char *name, bool is_abstract)
{
    const struct sockaddr_un address = unix_address(name, is_abstract);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(fd, (const struct sockaddr *)&address, sizeof address);
}

/* Exit codes of attempts in a child. */
static void expect(bool true_in_sandbox, int code)
{
    if (!true_in_sandbox)
        _exit(code);
}

static bool refused(int result, int error)
{
    return result < 0 && errno == error;
}

/* Whether other files than the given ones are not even there. */
static bool has_view(void)
{
    return geteuid() == USER;
}

/* A file that was not given, by its path. */
static bool closed(int result)
{
    return refused(result, EACCES) ||
           (result < 0 && has_view() && (errno == ENOENT || errno == EROFS));
}

/* Files: with a name, by a folder that is open, by a link, by a ring. */
static void reach_files(int open_folder)
{
    char bytes[8];
    expect(open("given", O_RDONLY) >= 0, 20);
    expect(open("given", O_RDWR) < 0, 21); /* for reading only */
    int written = open("written", O_RDWR | O_TRUNC);
    expect(written >= 0 && write(written, "new", 3) == 3, 22);
    expect(closed(open("secret", O_RDONLY)), 23);
    expect(refused(openat(open_folder, "secret", O_RDONLY), EACCES), 24);
    expect(closed(open("own/link", O_RDONLY)), 25);
    expect(closed(open("/etc/passwd", O_RDONLY)), 26);
    expect(closed(open("/proc/self/mem", O_RDWR)), 27);
    expect(closed(open("/dev/kvm", O_RDWR)) || errno == ENOENT, 28);
    expect(closed(open(".", O_RDONLY | O_DIRECTORY)), 29);
    expect(closed(open("created", O_WRONLY | O_CREAT, 0600)), 30);
    expect(closed(unlink("secret")), 31);
    expect(closed(rename("secret", "own/secret")) || errno == EXDEV, 32);
    expect(closed(link("secret", "own/secret")) || errno == EXDEV || errno == EPERM, 33);
    expect(refused(symlink("/etc", "own/etc"), EACCES), 34);
    expect(closed(truncate("secret", 0)), 35);
    expect(refused(mkdir("own", 0700), EEXIST) && mkdir("other", 0700) < 0, 36);
    expect(readlink("own/link", bytes, sizeof bytes) > 0, 37);
    if (!has_view())
        return;
    struct stat status;
    expect(refused(stat("secret", &status), ENOENT), 38);
    expect(refused(stat("/etc/passwd", &status), ENOENT), 39);
    expect(refused(stat("/proc/1", &status), ENOENT), 80);
    expect(refused(chdir("/proc"), ENOENT) && refused(chdir("/dev"), ENOENT), 81);
    expect(closed(open("/tmp/new", O_WRONLY | O_CREAT, 0600)), 82);
}

/* The folder that is its own: files, sockets, and the folder itself in the end. */
static void use_own_folder(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "own/socket"};
    int file = open("own/file", O_RDWR | O_CREAT, 0600);
    expect(file >= 0 && write(file, "x", 1) == 1, 40);
    expect(rename("own/file", "own/renamed") == 0 && unlink("own/renamed") == 0, 41);
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    expect(bind(server, (struct sockaddr *)&address, sizeof address) == 0, 42);
    expect(listen(server, 1) == 0 && unlink("own/socket") == 0, 43);
}

/* A ring would make calls that no filter sees: none can be set up. */
static int ring_result(void (*prepare)(struct io_uring_sqe *))
{
    struct io_uring ring;
    struct io_uring_cqe *done;
    if (io_uring_queue_init(2, &ring, 0) < 0)
        return -EACCES;
    prepare(io_uring_get_sqe(&ring));
    io_uring_submit(&ring);
    int result = io_uring_wait_cqe(&ring, &done);
    if (result == 0)
        result = done->res;
    io_uring_queue_exit(&ring);
    return result;
}

static void ring_open(struct io_uring_sqe *entry)
{
    io_uring_prep_openat(entry, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void ring_socket(struct io_uring_sqe *entry)
{
    io_uring_prep_socket(entry, AF_INET, SOCK_STREAM, 0, 0);
}

static void reach_by_ring(void)
{
    expect(ring_result(ring_open) == -EACCES, 50);
    expect(ring_result(ring_socket) == -EACCES, 51);
}

static void reach_processes(void)
{
    expect(refused(kill(victim, SIGKILL), EPERM), 60);
    expect(refused(kill(-1, SIGKILL), EPERM), 61);
    expect(kill(getpid(), 0) == 0, 62);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", victim);
    expect(closed(open(path, O_RDWR)), 63);
}

/* Listeners of a process that may connect to those of one folder, whoever's they are. */
static void reach_sockets(void)
{
    expect(connect_unix("sockets/listener", false) == 0, 90);
    expect(refused(connect_unix("listener", false), ENOENT), 91);
    expect(refused(connect_unix(folder, true), ECONNREFUSED) || errno == EPERM, 92);
}

/* Of the thread that calls: credentials are each thread's own. */
static void check_credentials(bool was_root, bool writes)
{
    expect(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, 70);
    if (!was_root)
        return;
    uid_t real, effective, saved;
    expect(syscall(SYS_getresuid, &real, &effective, &saved) == 0, 71);
    expect(real == USER && effective == USER && saved == USER, 72);
    expect(syscall(SYS_getgroups, 0, NULL) == 0, 73);
    expect(prctl(PR_CAPBSET_READ, 0, 0, 0, 0) >= 0, 74);
    /* A file that was given, in a folder that only root may enter. */
    expect(open("root/private/given", O_RDONLY) >= 0, 76);
    expect(access("root/private/given", F_OK) == 0, 77);
    expect(writes || refused(open("root/private/given", O_RDWR), EACCES), 78);
    /* Root's own, of a folder that is nobody else's business. */
    expect(closed(unlink("root/file")), 75);
}

struct intruder {
    bool is_root;
    bool old_thread;
    bool connects;
    volatile bool confined;
    int open_folder;
};

static void *intrude(void *argument)
{
    struct intruder *intruder = argument;
    while (!intruder->confined)
        sched_yield();
    check_credentials(intruder->is_root, intruder->connects);
    reach_files(intruder->open_folder);
    use_own_folder();
    reach_by_ring();
    reach_processes();
    if (intruder->connects)
        reach_sockets();
    _exit(EXIT_DONE);
}

/* Begins the namespaces early, as a machine does, with paths that are gone when they are needed. */
static int begin_early(const struct sandbox_path *paths, size_t count)
{
    static char names[8][PATH_MAX];
    struct sandbox_path early[8];
    if (count > 8)
        return -E2BIG;
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "%s", paths[i].path);
        early[i] = (struct sandbox_path){names[i], paths[i].access};
    }
    int error = namespaces_begin(early, count);
    memset(names, 0, sizeof names);
    memset(early, 0, sizeof early);
    return error;
}

static void confined_main(void *argument)
{
    struct intruder *intruder = argument;
    pthread_t thread;
    static const struct sandbox_path GIVEN[] = {
        {"given", SANDBOX_READ},      {"written", SANDBOX_WRITE},
        {"own", SANDBOX_OWN},         {"missing", SANDBOX_WRITE},
        {"sockets", SANDBOX_CONNECT}, {"root/private/given", SANDBOX_WRITE},
    };
    enum { COUNT = sizeof GIVEN / sizeof *GIVEN };
    static char names[COUNT][PATH_MAX];
    struct sandbox_path paths[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "%.4000s/%s", folder, GIVEN[i].path);
        paths[i] = (struct sandbox_path){names[i], GIVEN[i].access};
    }
    struct sandbox_needs needs = {.paths = paths,
                                  .path_count = COUNT,
                                  .connects = intruder->connects,
                                  .writes = intruder->connects,
                                  .user = intruder->is_root ? USER : 0};
    struct sandbox_report report;
    intruder->open_folder = open(".", O_PATH | O_DIRECTORY);
    if (intruder->old_thread && pthread_create(&thread, NULL, intrude, intruder) != 0)
        _exit(10);
    if (intruder->is_root && (chown("own", USER, USER) < 0 || chown("written", USER, USER) < 0))
        _exit(11);
    if (intruder->is_root && intruder->old_thread && begin_early(paths, COUNT) < 0)
        _exit(17);
    int error = sandbox_confine_process(&needs, &report);
    if (error < 0 || !report.files || report.namespaces != intruder->is_root)
        _exit(12);
    if (report.view != intruder->is_root)
        _exit(16);
    intruder->confined = true;
    if (!intruder->old_thread && pthread_create(&thread, NULL, intrude, intruder) != 0)
        _exit(13);
    pthread_join(thread, NULL);
}

static void test_attempts(bool is_root)
{
    char text[1024];
    for (int i = 0; i < (is_root ? 4 : 2); i++) {
        bool old_thread = i % 2 != 0;
        struct intruder intruder = {
            .is_root = is_root, .old_thread = old_thread, .connects = i > 1};
        int code = child_run(confined_main, &intruder, text, sizeof text);
        if (!CHECK(code == EXIT_DONE && text[0] == 0))
            fprintf(stderr, "root %d, old thread %d: exit code %d, %s\n", is_root, old_thread, code,
                    text);
        if (is_root)
            CHECK(chown("own", 0, 0) == 0 && chown("written", 0, 0) == 0);
    }
}

/* The same as a user without privileges. */
static void run_as_user(void *argument)
{
    if (setgid(USER - 1) < 0 || setuid(USER - 1) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        _exit(14);
    confined_main(argument);
}

static void test_as_user(void)
{
    char text[1024];
    CHECK(chown("own", USER - 1, USER - 1) == 0 && chown("written", USER - 1, USER - 1) == 0);
    CHECK(chown(".", USER - 1, USER - 1) == 0 && chown("secret", USER - 1, USER - 1) == 0);
    struct intruder intruder = {.is_root = false, .old_thread = true};
    int code = child_run(run_as_user, &intruder, text, sizeof text);
    if (!CHECK(code == EXIT_DONE && text[0] == 0))
        fprintf(stderr, "as a user: exit code %d, %s\n", code, text);
}

/* What the process may not remove itself is removed when it has ended, unless it is another's by
 * then. */
static void leave_files(void *argument)
{
    struct cleaner cleaner;
    const char *const *words = argument;
    if (cleaner_start(&cleaner, words, 5) < 0)
        _exit(15);
    kill(getpid(), SIGKILL);
}

static void test_cleaner(void)
{
    struct stat status;
    char socket[64], other[64], text[64];
    make_file("socket", 0600);
    make_file("replaced", 0600);
    CHECK(mkdir("empty", 0700) == 0 && stat("socket", &status) == 0);
    snprintf(socket, sizeof socket, "%lu:%lu", status.st_dev, status.st_ino);
    snprintf(other, sizeof other, "%lu:%lu", status.st_dev, status.st_ino + 100000);
    const char *words[] = {"empty", socket, "socket", other, "replaced"};
    struct cleaner cleaner;
    CHECK(cleaner_start(&cleaner, words, 5) == 0);
    CHECK(access("socket", F_OK) == 0);
    cleaner_finish(&cleaner);
    CHECK(access("socket", F_OK) < 0 && access("empty", F_OK) < 0);
    CHECK(access("replaced", F_OK) == 0);

    CHECK(mkdir("empty", 0700) == 0);
    CHECK(child_run(leave_files, words, text, sizeof text) == -1);
    for (int i = 0; i < 500 && access("empty", F_OK) == 0; i++)
        usleep(10000);
    CHECK(access("empty", F_OK) < 0);
}

static void remove_all(void)
{
    char command[PATH_MAX + 8];
    CHECK(chdir("/") == 0);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
}

int main(void)
{
    bool is_root = geteuid() == 0;
    temporary_template(folder);
    if (!CHECK(mkdtemp(folder) && chdir(folder) == 0 && chmod(folder, 0755) == 0))
        return check_finish();
    make_file("given", 0644);
    make_file("written", 0600);
    make_file("secret", 0600);
    CHECK(mkdir("own", 0700) == 0 && symlink("../secret", "own/link") == 0);
    CHECK(mkdir("root", 0755) == 0);
    make_file("root/file", 0644);
    CHECK(mkdir("root/private", 0700) == 0);
    make_file("root/private/given", 0600);
    CHECK(mkdir("sockets", 0700) == 0);
    const int listeners[] = {listen_unix("listener", false), listen_unix("sockets/listener", false),
                             listen_unix(folder, true)};
    victim = fork();
    if (victim == 0) {
        pause();
        _exit(0);
    }
    if (landlock_version() < 0)
        printf("left out: files, as this kernel has no Landlock\n");
    else if (is_root)
        test_attempts(true);
    if (landlock_version() >= 0)
        test_attempts(false);
    if (landlock_version() >= 0 && is_root)
        test_as_user();
    if (!is_root)
        printf("left out: what root gives up\n");
    test_cleaner();
    CHECK(kill(victim, SIGKILL) == 0 && waitpid(victim, NULL, 0) == victim);
    for (unsigned i = 0; i < sizeof listeners / sizeof listeners[0]; i++)
        close(listeners[i]);
    remove_all();
    return check_finish();
}
