/* What tables of rows mean, asked of the kernel. */
#include "../../src/sandbox/filter.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/sandbox/process_rules.h"
#include "../../src/sandbox/syscall_name.h"
#include "../../src/sandbox/thread_rules.h"
#include "../check.h"

#define MARK 77
#define MARKED (SECCOMP_RET_ERRNO | MARK)
#define COUNT(list) (sizeof(list) / sizeof *(list))

/* kcmp(2) with two processes that do not exist has no effect. */
static const struct filter_row ROWS[] = {
    {SYS_kcmp, EQUAL(2, 5), SECCOMP_RET_ERRNO | 1, "the first row that matches counts"},
    {SYS_kcmp, EQUAL(2, 5), MARKED, "too late"},
    {SYS_kcmp, HAS(2, 0x30), MARKED, "one of two bits"},
    {SYS_kcmp, NOT_NULL(3), MARKED, "any of the 64 bits"},
    {SYS_getpriority, LACKS(0, 0x6), MARKED, "none of two bits"},
    {SYS_getsid, DIFFERS(0, 0), MARKED, "another process"},
    {SYS_getppid, ALWAYS, MARKED, "without arguments"},
};

static const struct {
    long call, first, third, fourth;
    bool marked;
} CASES[] = {
    {SYS_getppid, 0, 0, 0, true},
    {SYS_getpid, 0, 0, 0, false},
    {SYS_kcmp, -1, 0x10, 0, true},
    {SYS_kcmp, -1, 0x20, 0, true},
    {SYS_kcmp, -1, 0x31, 0, true},
    {SYS_kcmp, -1, 0x40, 0, false},
    {SYS_kcmp, -1, 0x1000000010, 0, true}, /* the low half counts */
    {SYS_kcmp, -1, 0x1000000000, 0, false},
    {SYS_kcmp, -1, 0, 1, true},
    {SYS_kcmp, -1, 0, 0x100000000, true},
    {SYS_kcmp, -1, 0, 0, false},
    {SYS_getpriority, 0x8, 0, 0, true},
    {SYS_getpriority, 0x2, 0, 0, false},
    {SYS_getpriority, 0x6, 0, 0, false},
    {SYS_getsid, 0, 0, 0, false},
    {SYS_getsid, 1, 0, 0, true},
};

static bool confine(const struct filter *filter)
{
    static struct sock_filter code[FILTER_LENGTH_MAX];
    int length = filter_compile(filter, code, FILTER_LENGTH_MAX);
    return length > 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           filter_install(code, (size_t)length, 0) == 0;
}

static int confined_main(void)
{
    struct filter filter = {.tables = {{ROWS, 3}, {&ROWS[3], COUNT(ROWS) - 3}},
                            .otherwise = SECCOMP_RET_ALLOW};
    CHECK(confine(&filter));
    CHECK(syscall(SYS_kcmp, -1, -1, 5, 0, 0) == -1 && errno == 1);
    for (size_t i = 0; i < COUNT(CASES); i++) {
        errno = 0;
        syscall(CASES[i].call, CASES[i].first, -1, CASES[i].third, CASES[i].fourth, 0);
        if (!CHECK((errno == MARK) == CASES[i].marked))
            fprintf(stderr, "case %zu\n", i);
    }
    return check_failed == 0 ? 0 : 1;
}

/* The signal that ends a process with this filter after one call, or 0. */
static int signal_of(const struct filter *filter, void (*call)(void))
{
    pid_t child = fork();
    if (child == 0) {
        if (!confine(filter))
            _exit(3);
        call();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void call_getppid(void)
{
    syscall(SYS_getppid);
}

/* 20 is getpid() with the numbers of 32-bit programs, and writev() with ours. */
static void call_32_bit(void)
{
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
}

static void call_x32(void)
{
    syscall(0x40000000 | SYS_getppid);
}

static void test_architectures(void)
{
    struct filter all = {.otherwise = SECCOMP_RET_ALLOW};
    CHECK(signal_of(&all, call_getppid) == 0);
    CHECK(signal_of(&all, call_32_bit) == SIGSYS);
    CHECK(signal_of(&all, call_x32) == SIGSYS);
    struct filter none = {.tables = {{ROWS, 0}}, .otherwise = SECCOMP_RET_KILL_PROCESS};
    CHECK(signal_of(&none, call_getppid) == SIGSYS);
}

static void test_length(void)
{
    struct sock_filter code[FILTER_LENGTH_MAX];
    struct filter filter = {.tables = {{ROWS, COUNT(ROWS)}}, .otherwise = SECCOMP_RET_TRAP};
    int length = filter_compile(&filter, code, FILTER_LENGTH_MAX);
    CHECK(length > 0);
    CHECK(filter_compile(&filter, code, (size_t)length) == length);
    CHECK(filter_compile(&filter, code, (size_t)length - 1) == -E2BIG);
    CHECK(filter_compile(&filter, code, 0) == -E2BIG);
}

/* Every row has a reason and is of use. */
static void check_rows(const struct filter *filter)
{
    for (unsigned i = 0; i < FILTER_TABLES_MAX; i++) {
        for (size_t j = 0; j < filter->tables[i].count; j++) {
            const struct filter_row *row = &filter->tables[i].rows[j];
            CHECK(row->reason && row->reason[0]);
            CHECK(syscall_name(row->call) != NULL);
            for (size_t k = 0; k < j; k++) {
                const struct filter_row *before = &filter->tables[i].rows[k];
                CHECK(before->call != row->call || before->test != row->test ||
                      before->argument != row->argument || before->value != row->value);
            }
        }
    }
}

/* The tables of the product. */
static void test_tables(void)
{
    for (int kind = 0; kind < SANDBOX_THREAD_KINDS; kind++) {
        CHECK(THREAD_NAMES[kind] != NULL);
        CHECK(THREAD_FILTERS[kind].otherwise == SECCOMP_RET_TRAP);
        check_rows(&THREAD_FILTERS[kind]);
    }
    struct process_filter process;
    process_filter_make(&process, &(struct sandbox_needs){0});
    check_rows(&process.filter);
    CHECK(syscall_name(-1) == NULL);
    CHECK(syscall_name(100000) == NULL);
}

int main(void)
{
    test_length();
    test_architectures();
    test_tables();
    pid_t child = fork();
    if (child == 0)
        _exit(confined_main());
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return check_finish();
}
