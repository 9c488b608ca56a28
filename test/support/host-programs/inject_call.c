/*
 * Has a thread of another process make a system call, as code that has taken it over would.
 *
 *   inject_call PID THREAD CALL [ARGUMENT]...
 *
 * THREAD is the name of the thread. An argument is a number, or "s:TEXT" for a pointer to that
 * text. Prints the call's result, a negative errno on failure, or "ended" when the process ends.
 * Needs the right to trace the process.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define RED_ZONE 4096
#define TEXT_MAX 512

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static pid_t find_thread(const char *pid, const char *name)
{
    char path[300], comm[32];
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *folder = opendir(path);
    if (!folder)
        fail(path);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%s/task/%.20s/comm", pid, entry->d_name);
        FILE *file = fopen(path, "r");
        bool found = file && fgets(comm, sizeof comm, file) &&
                     strcspn(comm, "\n") == strlen(name) && strncmp(comm, name, strlen(name)) == 0;
        if (file)
            fclose(file);
        if (found)
            return atoi(entry->d_name);
    }
    errno = ESRCH;
    fail(name);
    return 0;
}

static int wait_for(pid_t thread)
{
    int status;
    if (waitpid(thread, &status, __WALL) != thread)
        fail("waitpid");
    return status;
}

static void stop(pid_t thread)
{
    if (ptrace(PTRACE_SEIZE, thread, 0, PTRACE_O_TRACESYSGOOD) < 0)
        fail("PTRACE_SEIZE");
    if (ptrace(PTRACE_INTERRUPT, thread, 0, 0) < 0)
        fail("PTRACE_INTERRUPT");
    wait_for(thread);
}

static bool is_syscall(pid_t thread, unsigned long address)
{
    errno = 0;
    long word = ptrace(PTRACE_PEEKTEXT, thread, address, 0);
    return errno == 0 && (word & 0xffff) == 0x050f;
}

/* A SYSCALL instruction: of the main thread, which mostly waits for events in the C library. */
static unsigned long find_instruction(pid_t process)
{
    struct user_regs_struct registers;
    for (int attempt = 0; attempt < 500; attempt++) {
        stop(process);
        if (ptrace(PTRACE_GETREGS, process, 0, &registers) < 0)
            fail("PTRACE_GETREGS");
        bool found = is_syscall(process, registers.rip - 2);
        ptrace(PTRACE_DETACH, process, 0, 0);
        if (found)
            return registers.rip - 2;
        usleep(10000);
    }
    fprintf(stderr, "the main thread does not wait in a system call\n");
    exit(3);
}

static void write_text(pid_t thread, unsigned long address, const char *text)
{
    char bytes[TEXT_MAX + 8] = {0};
    strncpy(bytes, text, TEXT_MAX);
    for (size_t i = 0; i < strlen(bytes) + 1; i += 8) {
        long word;
        memcpy(&word, bytes + i, sizeof word);
        if (ptrace(PTRACE_POKEDATA, thread, address + i, word) < 0)
            fail("PTRACE_POKEDATA");
    }
}

/* Goes on with the process until it has ended. */
static int run_to_end(pid_t thread, int signal)
{
    for (;;) {
        if (ptrace(PTRACE_CONT, thread, 0, signal) < 0)
            break;
        int status = wait_for(thread);
        if (WIFEXITED(status) || WIFSIGNALED(status))
            break;
        signal = WIFSTOPPED(status) && status >> 16 == 0 ? WSTOPSIG(status) : 0;
    }
    puts("ended");
    return 0;
}

int main(int count, char **words)
{
    if (count < 4 || count > 10)
        return 2;
    pid_t process = atoi(words[1]), thread = find_thread(words[1], words[2]);
    struct user_regs_struct before, call;
    unsigned long instruction = find_instruction(process);
    stop(thread);
    if (ptrace(PTRACE_GETREGS, thread, 0, &before) < 0)
        fail("PTRACE_GETREGS");
    call = before;
    unsigned long long *arguments[] = {&call.rdi, &call.rsi, &call.rdx,
                                       &call.r10, &call.r8,  &call.r9};
    for (int i = 4; i < count; i++) {
        unsigned long value = strtoul(words[i], NULL, 0);
        if (strncmp(words[i], "s:", 2) == 0) {
            value = (before.rsp - RED_ZONE - (unsigned long)i * TEXT_MAX) & ~7ul;
            write_text(thread, value, words[i] + 2);
        }
        *arguments[i - 4] = value;
    }
    call.rax = strtoul(words[3], NULL, 0);
    call.orig_rax = -1ull; /* what it was interrupted in is not to be restarted now */
    call.rip = instruction;
    if (ptrace(PTRACE_SETREGS, thread, 0, &call) < 0 || ptrace(PTRACE_SINGLESTEP, thread, 0, 0) < 0)
        fail("PTRACE_SETREGS");
    int status = wait_for(thread);
    if (!WIFSTOPPED(status))
        return run_to_end(thread, 0);
    if (WSTOPSIG(status) != SIGTRAP)
        return run_to_end(thread, WSTOPSIG(status));
    if (ptrace(PTRACE_GETREGS, thread, 0, &call) < 0)
        fail("PTRACE_GETREGS");
    printf("%lld\n", (long long)call.rax);
    ptrace(PTRACE_SETREGS, thread, 0, &before);
    ptrace(PTRACE_DETACH, thread, 0, 0);
    return 0;
}
