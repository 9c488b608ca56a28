#include "sandbox.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "every_thread.h"
#include "landlock.h"
#include "privileges.h"
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
/* A thread has entered: it could be given no more filters of the process. */
static bool entered;

int sandbox_probe_seccomp(void)
{
    uint32_t action = SECCOMP_RET_TRAP;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? -errno : 0;
}

static int enable(void)
{
    int error = sandbox_probe_seccomp();
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
    __atomic_store_n(&entered, true, __ATOMIC_RELAXED);
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
    return filter_install(code, (size_t)length, 1);
}

/* For each thread. */
struct confinement {
    struct privileges privileges;
    int ruleset; /* -1: the kernel has no Landlock */
};

static int thread_confine(void *context)
{
    const struct confinement *confinement = context;
    int error = privileges_drop(&confinement->privileges);
    if (error == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        error = -errno;
    if (error == 0 && confinement->ruleset >= 0)
        error = landlock_enter(confinement->ruleset);
    return error;
}

static bool is_absent(int error)
{
    return error == -ENOSYS || error == -EOPNOTSUPP;
}

static int threads_confine(const struct sandbox_needs *needs, struct sandbox_report *report)
{
    /* Large, and for the signal handlers of other threads. */
    static struct confinement confinement;
    confinement.ruleset = landlock_create(needs->paths, needs->path_count);
    if (confinement.ruleset < 0 && !is_absent(confinement.ruleset))
        return confinement.ruleset;
    if (confinement.ruleset < 0 && needs->user != 0)
        return confinement.ruleset;
    int error = privileges_prepare(&confinement.privileges, needs);
    if (error == 0)
        error = every_thread_run(thread_confine, &confinement);
    *report = (struct sandbox_report){
        .files = confinement.ruleset >= 0,
        .namespaces = confinement.privileges.namespaces.net_fd >= 0,
        .view = confinement.privileges.namespaces.view.fd >= 0,
    };
    privileges_destroy(&confinement.privileges);
    if (confinement.ruleset >= 0)
        close(confinement.ruleset);
    return error;
}

int sandbox_confine_process(const struct sandbox_needs *needs, struct sandbox_report *report)
{
    int error = sandbox_enable_threads();
    if (error == 0 && __atomic_load_n(&entered, __ATOMIC_RELAXED))
        error = -EBUSY;
    if (error == 0)
        error = threads_confine(needs, report);
    return error < 0 ? error : process_filter_install(needs);
}
