/*
 * Lists a tree: every name with what the kernel says of it. Names and values are escaped, a line
 * each.
 *
 *   list-tree FOLDER    on a host: to standard output
 *   /init               as a guest's PID 1, by words of the kernel's command line, to /dev/vdb, a
 * disk of zeroes: "list-root" lists the root, "list-DEVICE" the EROFS on that device, "run-script"
 * runs /script with /bin/sh
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static FILE *out;
static dev_t own_device;

static void fail(const char *what)
{
    fprintf(out, "failed: %s: %s\n", what, strerror(errno));
    fflush(out);
}

static void print_escaped(const char *bytes, size_t length)
{
    for (size_t index = 0; index < length; index++) {
        unsigned char byte = (unsigned char)bytes[index];
        if (byte > ' ' && byte < 0x7f && byte != '\\') {
            fputc(byte, out);
        } else {
            fprintf(out, "\\%02x", byte);
        }
    }
}

/* FNV-1a, which is enough to tell files apart that are not crafted. */
static uint64_t content_hash(const char *name)
{
    static unsigned char buffer[65536];
    uint64_t hash = 0xcbf29ce484222325u;
    int fd = open(name, O_RDONLY | O_NOFOLLOW);
    ssize_t got;

    if (fd < 0) {
        fail(name);
        return 0;
    }
    while ((got = read(fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t index = 0; index < got; index++) {
            hash = (hash ^ buffer[index]) * 0x100000001b3u;
        }
    }
    if (got < 0) {
        fail(name);
    }
    close(fd);
    return hash;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_xattrs(const char *name)
{
    static char list[65536];
    static char value[65536];
    const char *names[1024];
    size_t count = 0;
    ssize_t length = llistxattr(name, list, sizeof list);

    if (length < 0) {
        fail("llistxattr");
        return;
    }
    for (ssize_t at = 0; at < length && count < 1024; at += (ssize_t)strlen(list + at) + 1) {
        names[count++] = list + at;
    }
    qsort(names, count, sizeof *names, compare_names);
    for (size_t index = 0; index < count; index++) {
        ssize_t size = lgetxattr(name, names[index], value, sizeof value);

        fputc(' ', out);
        print_escaped(names[index], strlen(names[index]));
        fputc('=', out);
        print_escaped(value, size < 0 ? 0 : (size_t)size);
    }
}

/* For a name in the working directory; `path` is printed. */
static void print_entry(const char *name, const char *path, const struct stat *st)
{
    static char target[PATH_MAX + 1];
    bool is_directory = S_ISDIR(st->st_mode);

    print_escaped(path, strlen(path));
    fprintf(out, " mode=%o uid=%u gid=%u mtime=%" PRId64 ".%09ld", st->st_mode, st->st_uid,
            st->st_gid, (int64_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    /* The size and link count of a directory depend on the file system. */
    if (!is_directory) {
        fprintf(out, " size=%" PRId64 " links=%lu", (int64_t)st->st_size,
                (unsigned long)st->st_nlink);
    }
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
        fprintf(out, " device=%u:%u", major(st->st_rdev), minor(st->st_rdev));
    }
    if (S_ISREG(st->st_mode)) {
        fprintf(out, " hash=%016" PRIx64, content_hash(name));
    }
    if (S_ISLNK(st->st_mode)) {
        ssize_t length = readlink(name, target, sizeof target);

        fputs(" target=", out);
        print_escaped(target, length < 0 ? 0 : (size_t)length);
    }
    print_xattrs(name);
    fputc('\n', out);
}

/* Paths may be longer than the kernel accepts, so it changes from directory to directory. */
static void list(const char *path)
{
    struct stat st;
    struct dirent **entries;
    int count;

    if (lstat(".", &st) != 0 || st.st_dev != own_device) {
        return;
    }
    count = scandir(".", &entries, NULL, NULL);
    if (count < 0) {
        fail("scandir");
        return;
    }
    for (int index = 0; index < count; index++) {
        const char *name = entries[index]->d_name;
        char *below;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            asprintf(&below, "%s/%s", path, name) < 0) {
            continue;
        }
        if (lstat(name, &st) != 0) {
            fail(below);
        } else {
            print_entry(name, below, &st);
            if (S_ISDIR(st.st_mode)) {
                int here = open(".", O_RDONLY | O_DIRECTORY);

                if (here < 0 || chdir(name) != 0) {
                    fail(below);
                } else {
                    list(below);
                    if (fchdir(here) != 0) {
                        fail(below);
                    }
                }
                close(here);
            }
        }
        free(below);
        free(entries[index]);
    }
    free(entries);
}

static void list_folder(const char *folder)
{
    struct stat st;

    if (chdir(folder) != 0 || lstat(".", &st) != 0) {
        fail(folder);
        return;
    }
    own_device = st.st_dev;
    print_entry(".", ".", &st);
    list(".");
}

static void run_script(void)
{
    char *words[] = {"sh", "/script", NULL};
    char *environment[] = {"PATH=/usr/bin:/bin", NULL};
    pid_t child;
    int status;

    fputs("script\n", out);
    fflush(out);
    child = fork();
    if (child == 0) {
        dup2(fileno(out), 1);
        dup2(fileno(out), 2);
        execve("/bin/sh", words, environment);
        _exit(127);
    }
    waitpid(child, &status, 0);
    /* The script has moved on in the same open file. */
    fseek(out, 0, SEEK_CUR);
    fprintf(out, "exit code %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static void list_device(const char *device)
{
    char path[64];

    snprintf(path, sizeof path, "/dev/%s", device);
    fprintf(out, "tree %s\n", device);
    if (mount(path, "/mnt", "erofs", MS_RDONLY, NULL) != 0) {
        fail(path);
        return;
    }
    list_folder("/mnt");
    if (chdir("/") != 0 || umount("/mnt") != 0) {
        fail("umount");
    }
}

/* The kernel passes words of its command line that it does not know to init. */
static int run_as_init(char **words)
{
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    out = fopen("/dev/vdb", "r+");
    if (out == NULL) {
        return 1;
    }
    for (; *words != NULL; words++) {
        if (strcmp(*words, "list-root") == 0) {
            fputs("tree root\n", out);
            list_folder("/");
        } else if (strcmp(*words, "run-script") == 0) {
            run_script();
        } else if (strncmp(*words, "list-", 5) == 0) {
            list_device(*words + 5);
        }
    }
    fputs("end\n", out);
    if (fflush(out) != 0 || fsync(fileno(out)) != 0) {
        return 1;
    }
    reboot(RB_POWER_OFF);
    return 1;
}

int main(int argc, char **argv)
{
    out = stdout;
    if (getpid() == 1) {
        return run_as_init(argv + 1);
    }
    if (argc != 2) {
        fputs("usage: list-tree FOLDER\n", stderr);
        return 2;
    }
    list_folder(argv[1]);
    return 0;
}
