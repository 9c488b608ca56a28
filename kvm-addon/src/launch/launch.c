/*
 * tsvm-launch NODE [OPTION...] -- MAIN WORD...
 *
 * Runs Node like that, for a command that makes a container and runs it. Before, it starts the
 * process that will run the container, so that both start at the same time: each takes tens of
 * milliseconds. The command finds the connection to it, and the container's ID, in the environment;
 * if it needs no supervisor, that ends with the connection. See
 * vmm/cli/container/attach/supervisor-channel.ts.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* As in supervisor-channel.ts. */
#define CHANNEL_FD 3
#define VARIABLE "TSVM_SUPERVISOR"
/* As in vmm/cli/programs.ts. */
#define SUPERVISOR_COMMAND "container-supervisor"
/* As for other failures of bin/tsvm. */
#define EXIT_NOT_RUN 125

#define ID_BYTES 32

static int make_id(char id[2 * ID_BYTES + 1])
{
    unsigned char bytes[ID_BYTES];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return -1;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* @words those of the command up to its main module. It has a session, and nothing, of its own. */
static int spawn_supervisor(char *const words[], size_t count, char *id, int channel)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    pid_t pid;
    char command[] = SUPERVISOR_COMMAND;
    char **supervisor = calloc(count + 3, sizeof *supervisor);
    if (!supervisor)
        return -1;
    memcpy(supervisor, words, count * sizeof *words);
    supervisor[count] = command;
    supervisor[count + 1] = id;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, channel, CHANNEL_FD);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, CHANNEL_FD + 1);
    posix_spawn_file_actions_addchdir_np(&files, "/");
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int error = posix_spawn(&pid, words[0], &files, &attributes, supervisor, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    free(supervisor);
    return error ? -1 : 0;
}

/* Without a supervisor, the command starts one. */
static void prepare_supervisor(char *const words[], size_t count)
{
    char id[2 * ID_BYTES + 1], value[sizeof id + 16];
    int ends[2];
    unsetenv(VARIABLE);
    if (make_id(id) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return;
    /* A standard stream that is closed stays so. */
    if (ends[0] > STDERR_FILENO && ends[1] > STDERR_FILENO &&
        spawn_supervisor(words, count, id, ends[1]) == 0) {
        snprintf(value, sizeof value, "%d %s", ends[0], id);
        setenv(VARIABLE, value, 1);
    } else {
        close(ends[0]);
    }
    close(ends[1]);
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--") != 0)
            continue;
        prepare_supervisor(argv + 1, (size_t)i + 1);
        break;
    }
    if (argc > 1)
        execv(argv[1], argv + 1);
    dprintf(STDERR_FILENO, "tsvm: cannot run Node: %s\n", strerror(errno));
    return EXIT_NOT_RUN;
}
