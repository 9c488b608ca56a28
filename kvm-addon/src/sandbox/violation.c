#include "violation.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../util/terminal.h"
#include "../util/write_now.h"
#include "syscall_name.h"

#define SYS_SECCOMP_CODE 1 /* si_code; <signal.h> has no name for it */

/* In static TLS: the handler must not allocate it. */
static __thread const char *thread_kind __attribute__((tls_model("initial-exec")));

/* Text without stdio, which a signal handler must not use. */
struct text {
    char bytes[320];
    size_t length;
};

static void append(struct text *text, const char *part)
{
    for (; *part && text->length < sizeof text->bytes; part++)
        text->bytes[text->length++] = *part;
}

static void append_number(struct text *text, uint64_t number, unsigned base)
{
    char digits[24];
    size_t i = sizeof digits - 1;
    digits[i] = 0;
    do {
        digits[--i] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number != 0);
    append(text, &digits[i]);
}

static void append_call(struct text *text, const siginfo_t *info, const ucontext_t *context)
{
    const char *name = syscall_name(info->si_syscall);
    if (name) {
        append(text, name);
    } else {
        append(text, "number ");
        append_number(text, (unsigned)info->si_syscall, 10);
    }
    if (info->si_syscall == SYS_ioctl) {
        append(text, " with request 0x");
        append_number(text, (uint32_t)context->uc_mcontext.gregs[REG_RSI], 16);
    }
}

static void report(const siginfo_t *info, const ucontext_t *context)
{
    struct text text = {.length = 0};
    append(&text, "tsvm: ");
    append(&text, thread_kind ? thread_kind : "a thread of JavaScript");
    append(&text, " made a system call that the sandbox forbids: ");
    append_call(&text, info, context);
    append(&text, ". The machine is ended. This is an attack or a bug of tsvm; without the sandbox "
                  "(--sandbox off) it would have gone on\n");
    /* A pipe that nobody reads must not keep the process from its end. */
    ssize_t written = write_now(STDERR_FILENO, text.bytes, text.length);
    if (written == -EOPNOTSUPP)
        written = write(STDERR_FILENO, text.bytes, text.length);
    (void)written;
}

static void on_violation(int number, siginfo_t *info, void *context)
{
    if (info->si_code != SYS_SECCOMP_CODE) {
        /* Another process sent it: the default action is the one that it expects. */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    /* First, so that the message is not staircased. */
    terminal_restore_at_end();
    report(info, context);
    _exit(VIOLATION_EXIT_CODE);
}

int violation_handle(void)
{
    struct sigaction action = {.sa_sigaction = on_violation, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}

void violation_name_thread(const char *kind)
{
    thread_kind = kind;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
