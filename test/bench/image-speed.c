/*
 * PID 1 of a guest whose disks contain the same tree in two file systems: reads all of it and
 * starts programs from it, in turn. Prints "speed NAME FILESYSTEM SECONDS" lines, and "speed done".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 8, WARM_STARTS = 2 };

static char buffer[1 << 17];

static void fail(const char *what)
{
    printf("speed failed: %s: %s\n", what, strerror(errno));
    fflush(stdout);
    reboot(RB_POWER_OFF);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);

    if (fd < 0 || write(fd, text, strlen(text)) < 0) {
        fail(path);
    }
    close(fd);
}

static void read_file(const char *name)
{
    int fd = open(name, O_RDONLY);
    ssize_t got;

    if (fd < 0) {
        fail(name);
    }
    while ((got = read(fd, buffer, sizeof buffer)) > 0) {
    }
    if (got < 0) {
        fail(name);
    }
    close(fd);
}

/* Reads all files below the working directory. */
static void read_tree(void)
{
    DIR *directory = opendir(".");
    struct dirent *entry;

    if (directory == NULL) {
        fail("opendir");
    }
    while ((entry = readdir(directory)) != NULL) {
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (lstat(entry->d_name, &st) != 0) {
            fail(entry->d_name);
        }
        if (S_ISREG(st.st_mode)) {
            read_file(entry->d_name);
        } else if (S_ISDIR(st.st_mode)) {
            if (chdir(entry->d_name) != 0) {
                fail(entry->d_name);
            }
            read_tree();
            if (chdir("..") != 0) {
                fail("..");
            }
        }
    }
    closedir(directory);
}

static void start(const char *const *words)
{
    char *const environment[] = {NULL};
    pid_t child = fork();
    int status;

    if (child == 0) {
        if (chroot("/mnt") == 0 && chdir("/") == 0) {
            execve(words[0], (char *const *)words, environment);
        }
        _exit(127);
    }
    if (waitpid(child, &status, 0) != child || status != 0) {
        fail(words[0]);
    }
}

static void start_programs(void)
{
    static const char *const shell[] = {"/bin/dash", "-c", ":", NULL};
    static const char *const python[] = {"/usr/bin/python3.11", "-S", "-c", "import json", NULL};

    start(shell);
    start(python);
}

/*
 * Reads the metadata of an image in advance: Linux reads an EROFS with blocks of 512 bytes in
 * requests of 512 bytes, eight per page. The kernel's command line contains its length.
 */
static void read_metadata_ahead(const char *device)
{
    const char *bytes = getenv("metadata_bytes");
    int fd;

    if (strcmp(device, "/dev/vda") != 0 || bytes == NULL) {
        return;
    }
    fd = open(device, O_RDONLY);
    if (fd < 0 || readahead(fd, 0, strtoul(bytes, NULL, 10)) != 0) {
        fail(device);
    }
    close(fd);
}

static void measure(const char *device)
{
    double begin;

    if (mount(device, "/mnt", "erofs", MS_RDONLY, NULL) != 0) {
        fail(device);
    }
    write_file("/proc/sys/vm/drop_caches", "3");
    begin = now();
    read_metadata_ahead(device);
    if (chdir("/mnt") != 0) {
        fail("/mnt");
    }
    read_tree();
    printf("speed read %s %.6f\n", device, now() - begin);
    begin = now();
    read_tree();
    printf("speed read-again %s %.6f\n", device, now() - begin);
    if (chdir("/") != 0) {
        fail("/");
    }
    write_file("/proc/sys/vm/drop_caches", "3");
    begin = now();
    read_metadata_ahead(device);
    start_programs();
    printf("speed start %s %.6f\n", device, now() - begin);
    begin = now();
    for (int count = 0; count < WARM_STARTS; count++) {
        start_programs();
    }
    printf("speed start-again %s %.6f\n", device, (now() - begin) / WARM_STARTS);
    if (umount("/mnt") != 0) {
        fail("umount");
    }
    fflush(stdout);
}

int main(void)
{
    mkdir("/dev", 0755);
    mkdir("/proc", 0755);
    mkdir("/mnt", 0755);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        measure(round % 2 == 0 ? "/dev/vda" : "/dev/vdb");
        measure(round % 2 == 0 ? "/dev/vdb" : "/dev/vda");
    }
    puts("speed done");
    fflush(stdout);
    reboot(RB_POWER_OFF);
    return 0;
}
