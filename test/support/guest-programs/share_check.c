/*
 * The guest's half of the shared folder tests: PID 1 of an initial RAM disk. It mounts the share
 * `s`, does each of the checks below and prints "ok NAME" or "not ok NAME: why", and switches the
 * machine off. With `only=NAME` in its arguments it does one of them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOLDERS 100
#define FILES_PER_FOLDER 100
#define BYTES (1u << 20)

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return failed(#condition, __LINE__);                                                   \
    } while (0)

static int failed(const char *condition, int line)
{
    printf("line %d: %s (%s) ", line, condition, strerror(errno));
    return 0;
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    int written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return written;
}

/* Whether a file has exactly this content. */
static int has_text(const char *path, const char *text)
{
    char bytes[256] = {0};
    int fd = open(path, O_RDONLY);
    ssize_t count = fd < 0 ? -1 : read(fd, bytes, sizeof bytes - 1);
    close(fd);
    return count == (ssize_t)strlen(text) && strcmp(bytes, text) == 0;
}

static int entries_of(const char *path)
{
    int count = 0;
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return count;
}

static int many_files(void)
{
    char path[64], text[64];
    for (int i = 0; i < FOLDERS; i++) {
        snprintf(path, sizeof path, "folder%d", i);
        REQUIRE(mkdir(path, 0755) == 0);
        for (int j = 0; j < FILES_PER_FOLDER; j++) {
            snprintf(path, sizeof path, "folder%d/file%d", i, j);
            snprintf(text, sizeof text, "%d of %d", j, i);
            REQUIRE(write_file(path, text));
        }
    }
    for (int i = 0; i < FOLDERS; i++) {
        snprintf(path, sizeof path, "folder%d", i);
        REQUIRE(entries_of(path) == FILES_PER_FOLDER);
        snprintf(path, sizeof path, "folder%d/file%d", i, i);
        snprintf(text, sizeof text, "%d of %d", i, i);
        REQUIRE(has_text(path, text));
    }
    return 1;
}

static int renames(void)
{
    REQUIRE(mkdir("from", 0755) == 0 && mkdir("to", 0755) == 0);
    REQUIRE(write_file("from/a", "a") && write_file("to/b", "b"));
    REQUIRE(rename("from/a", "to/b") == 0 && has_text("to/b", "a"));
    REQUIRE(access("from/a", F_OK) < 0 && errno == ENOENT);
    REQUIRE(rename("to", "from/to") == 0 && has_text("from/to/b", "a"));
    REQUIRE(rename("from", "from/to/from") < 0 && errno == EINVAL);
    int fd = open("from/to/b", O_RDWR);
    REQUIRE(fd >= 0 && rename("from/to/b", "renamed") == 0 && write(fd, "still open", 10) == 10);
    close(fd);
    REQUIRE(has_text("renamed", "still open"));
    return 1;
}

static int links(void)
{
    char target[32] = {0};
    struct stat status;
    REQUIRE(write_file("target", "linked"));
    REQUIRE(symlink("target", "symbolic") == 0 && has_text("symbolic", "linked"));
    REQUIRE(readlink("symbolic", target, sizeof target - 1) == 6 && strcmp(target, "target") == 0);
    REQUIRE(link("target", "hard") == 0 && stat("hard", &status) == 0 && status.st_nlink == 2);
    REQUIRE(unlink("target") == 0 && has_text("hard", "linked"));
    REQUIRE(open("symbolic", O_RDONLY) < 0 && errno == ENOENT);
    return 1;
}

static int locks(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    int one = open("locked", O_CREAT | O_RDWR, 0644), other = open("locked", O_RDWR);
    REQUIRE(one >= 0 && other >= 0);
    REQUIRE(flock(one, LOCK_EX) == 0);
    REQUIRE(flock(other, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
    REQUIRE(flock(one, LOCK_UN) == 0 && flock(other, LOCK_EX | LOCK_NB) == 0);
    REQUIRE(fcntl(one, F_OFD_SETLK, &lock) == 0);
    REQUIRE(fcntl(other, F_OFD_SETLK, &lock) < 0 && errno == EAGAIN);
    lock.l_start = 10;
    REQUIRE(fcntl(other, F_OFD_SETLK, &lock) == 0);
    close(one);
    close(other);
    return 1;
}

static int mappings(void)
{
    int fd = open("mapped", O_CREAT | O_RDWR, 0644);
    REQUIRE(fd >= 0 && ftruncate(fd, BYTES) == 0);
    unsigned char *shared = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(shared != MAP_FAILED);
    for (unsigned i = 0; i < BYTES; i++)
        shared[i] = (unsigned char)(i * 7 + (i >> 8));
    REQUIRE(msync(shared, BYTES, MS_SYNC) == 0);
    unsigned char byte;
    REQUIRE(pread(fd, &byte, 1, 70001) == 1 && byte == (unsigned char)(70001 * 7 + (70001 >> 8)));
    REQUIRE(munmap(shared, BYTES) == 0);
    close(fd);
    return 1;
}

/* Runs a program of the share, whose code virtiofsd writes to guest memory. */
static int programs(void)
{
    int status;
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        if (child == 0) {
            execl("/share/program", "program", "answer", NULL);
            _exit(1);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    }
    return 1;
}

/* The host has created these links to a file beside the shared folder. */
static int ways_out(void)
{
    static const char *const PATHS[] = {"absolute",         "relative",
                                        "../secret",        "inside/../../secret",
                                        "/share/../secret", "folder-link/secret"};
    for (unsigned i = 0; i < sizeof PATHS / sizeof *PATHS; i++)
        REQUIRE(open(PATHS[i], O_RDONLY) < 0 && errno == ENOENT);
    REQUIRE(link("absolute", "linked-out") < 0 || open("linked-out", O_RDONLY) < 0);
    /* A link to the host's files that the guest creates. */
    REQUIRE(symlink("/etc/shadow", "own") == 0 && open("own", O_RDONLY) < 0 && errno == ENOENT);
    REQUIRE(symlink("..", "up") == 0 && open("up/secret", O_RDONLY) < 0 && errno == ENOENT);
    return 1;
}

static int read_only(void)
{
    REQUIRE(has_text("given", "from the host"));
    REQUIRE(open("new", O_CREAT | O_WRONLY, 0644) < 0 && errno == EROFS);
    REQUIRE(unlink("given") < 0 && errno == EROFS);
    REQUIRE(open("given", O_WRONLY) < 0 && errno == EROFS);
    REQUIRE(chmod("given", 0777) < 0 && errno == EROFS);
    return 1;
}

/* The host ends virtiofsd: requests that wait for it must not block others. */
static int backend_dies(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0;; i++)
            write_file("busy", i % 2 ? "odd" : "even");
    }
    sleep(1);
    printf("busy\n");
    for (int i = 0; i < 30; i++)
        usleep(100000);
    printf("the guest goes on\n");
    return 1;
}

static const struct {
    const char *name;
    int (*check)(void);
    int by_name_only;
} CHECKS[] = {
    {"many-files", many_files, 0}, {"renames", renames, 0},     {"links", links, 0},
    {"locks", locks, 0},           {"mappings", mappings, 0},   {"programs", programs, 0},
    {"ways-out", ways_out, 0},     {"read-only", read_only, 1}, {"backend-dies", backend_dies, 1},
};

int main(int argc, char **argv)
{
    const char *only = getenv("only");
    if (argc == 2 && strcmp(argv[1], "answer") == 0)
        return 42;
    setvbuf(stdout, NULL, _IONBF, 0);
    mkdir("/share", 0755);
    if (mount("s", "/share", "virtiofs", 0, NULL) < 0)
        printf("not ok mount: %s\n", strerror(errno));
    else if (chdir("/share") < 0)
        printf("not ok chdir\n");
    for (unsigned i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++) {
        if (only ? strcmp(only, CHECKS[i].name) != 0 : CHECKS[i].by_name_only)
            continue;
        int passed = CHECKS[i].check();
        printf("%s %s\n", passed ? "ok" : "not ok", CHECKS[i].name);
    }
    if (chdir("/") == 0 && !(only && strcmp(only, "backend-dies") == 0))
        umount("/share");
    reboot(RB_POWER_OFF);
}
