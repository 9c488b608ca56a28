#include "cleaner.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* It reads the end of this process, or its close() in cleaner_finish(). */
static const char SCRIPT[] = "read -r _\n"
                             "folder=$1; shift\n"
                             "while [ $# -ge 2 ]; do\n"
                             "  [ \"$(stat -c %d:%i -- \"$2\")\" != \"$1\" ] || rm -f -- \"$2\"\n"
                             "  shift 2\n"
                             "done\n"
                             "[ -z \"$folder\" ] || exec rmdir -- \"$folder\"\n";

#define FIXED_WORDS 4

static int spawn(struct cleaner *cleaner, int input, char **words)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    /* Its environment tells it nothing but where programs are. */
    char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    /* In a session of its own no signal of the terminal reaches it. */
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int error = posix_spawn(&cleaner->pid, words[0], &files, &attributes, words, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return -error;
}

int cleaner_start(struct cleaner *cleaner, const char *const *words, size_t count)
{
    int ends[2];
    char **all = calloc(FIXED_WORDS + count + 1, sizeof *all);
    if (!all)
        return -ENOMEM;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        free(all);
        return -errno;
    }
    const char *fixed[FIXED_WORDS] = {"/bin/sh", "-c", SCRIPT, "tsvm-cleaner"};
    memcpy(all, fixed, sizeof fixed);
    memcpy(all + FIXED_WORDS, words, count * sizeof *words);
    int error = spawn(cleaner, ends[0], all);
    free(all);
    close(ends[0]);
    cleaner->fd = ends[1];
    if (error < 0)
        close(ends[1]);
    return error;
}

void cleaner_finish(const struct cleaner *cleaner)
{
    close(cleaner->fd);
    while (waitpid(cleaner->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
