#include "sandbox.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "process_rules.h"
#include "thread_rules.h"
#include "violation.h"

#define THREAD_CODE_MAX 512
#define MALLOC_ARENAS 8

/* A filter in the kernel's language, made once. */
struct program {
    struct sock_filter code[THREAD_CODE_MAX];
    int length;
};

static struct program programs[SANDBOX_THREAD_KINDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool enabled;

/* Whether the kernel has filters with the action that we use. */
static int seccomp_probe(void)
{
    uint32_t action = SECCOMP_RET_TRAP;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? -errno : 0;
}

static int enable(void)
{
    int error = seccomp_probe();
    if (error < 0)
        return error;
    for (unsigned i = 0; i < SANDBOX_THREAD_KINDS; i++) {
        struct program *program = &programs[i];
        program->length = filter_compile(&THREAD_FILTERS[i], program->code, THREAD_CODE_MAX);
        if (program->length < 0)
            return program->length;
    }
    /* Without a limit, malloc(3) reads the number of CPUs from /sys when a thread first has to
     * wait. */
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    return violation_handle();
}

int sandbox_enable_threads(void)
{
    pthread_mutex_lock(&lock);
    int error = enabled ? 0 : enable();
    if (error == 0)
        __atomic_store_n(&enabled, true, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
    return error;
}

static int enter(enum sandbox_thread kind)
{
    const struct program *program = &programs[kind];
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return filter_install(program->code, (size_t)program->length, 0);
}

void sandbox_enter_thread(enum sandbox_thread kind)
{
    if (!__atomic_load_n(&enabled, __ATOMIC_ACQUIRE))
        return;
    violation_name_thread(THREAD_NAMES[kind]);
    int error = enter(kind);
    if (error == 0)
        return;
    static const char MESSAGE[] = "tsvm: the kernel refuses a thread's seccomp filter\n";
    ssize_t written = write(STDERR_FILENO, MESSAGE, sizeof MESSAGE - 1);
    (void)written;
    _exit(VIOLATION_EXIT_CODE);
}

void sandbox_name_thread(const char *name)
{
    if (__atomic_load_n(&enabled, __ATOMIC_ACQUIRE))
        violation_name_thread(name);
}

static int process_filter_install(const struct sandbox_needs *needs)
{
    static struct process_filter rules;
    static struct sock_filter code[FILTER_LENGTH_MAX];
    process_filter_make(&rules, needs);
    int length = filter_compile(&rules.filter, code, FILTER_LENGTH_MAX);
    if (length < 0)
        return length;
    /* The other threads get this, too, with the filter. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return filter_install(code, (size_t)length, 1);
}

int sandbox_confine_process(const struct sandbox_needs *needs)
{
    int error = sandbox_enable_threads();
    return error < 0 ? error : process_filter_install(needs);
}
