#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "soak.h"

#define TOLD_MAX 3

volatile unsigned *soak_failures;
__thread sigjmp_buf soak_escape;
__thread volatile bool soak_may_fault;
__thread volatile uintptr_t soak_fault_address;

void soak_fail(const char *condition, const char *file, int line, int *told)
{
    __atomic_fetch_add(soak_failures, 1, __ATOMIC_RELAXED);
    if (__atomic_fetch_add(told, 1, __ATOMIC_RELAXED) < TOLD_MAX)
        dprintf(STDOUT_FILENO, "%s:%d: not true: %s\n",
                strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line, condition);
}

uint32_t soak_random(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

unsigned soak_below(unsigned limit)
{
    return soak_random() % limit;
}

void soak_spin(unsigned steps)
{
    for (volatile unsigned i = 0; i < steps; i++)
        ;
}

static void *must_map(size_t bytes, int protection, int flags)
{
    void *memory = mmap(NULL, bytes, protection, flags | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("soak: mmap");
        exit(1);
    }
    return memory;
}

uint8_t *soak_pages(size_t count, int protection)
{
    return must_map(count * PAGE, protection, MAP_PRIVATE);
}

void *soak_shared(size_t bytes)
{
    return must_map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
}

int soak_wait(pid_t child)
{
    int status;

    if (child < 0)
        return -1;
    while (waitpid(child, &status, 0) != child) {
        if (errno != EINTR)
            return -1;
    }
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
#define FAULT_SIGNALS (sizeof fault_signals / sizeof *fault_signals)

int soak_child(int (*body)(void *), void *argument)
{
    fflush(stdout);
    pid_t child = fork();

    if (child == 0) {
        for (size_t i = 0; i < FAULT_SIGNALS; i++)
            signal(fault_signals[i], SIG_DFL);
        _exit(body(argument));
    }
    return soak_wait(child);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    const ucontext_t *ucontext = context;

    if (!soak_may_fault) {
        dprintf(STDOUT_FILENO, "soak: signal %d at %#llx, address %p\n", number,
                (unsigned long long)ucontext->uc_mcontext.gregs[REG_RIP], info->si_addr);
        __atomic_fetch_add(soak_failures, 1, __ATOMIC_RELAXED);
        signal(number, SIG_DFL);
        return;
    }
    soak_fault_address = (uintptr_t)info->si_addr;
    siglongjmp(soak_escape, number);
}

void soak_catch_faults(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

    for (size_t i = 0; i < FAULT_SIGNALS; i++)
        sigaction(fault_signals[i], &action, NULL);
}

unsigned soak_cpus(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus > 0 ? (unsigned)cpus : 1;
}

static bool has_states(uint32_t states)
{
    uint32_t eax, ebx, ecx, edx;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
        return false;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (eax & states) == states;
}

bool soak_has_avx(void)
{
    uint32_t eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & bit_AVX && has_states(6);
}

bool soak_has_avx512(void)
{
    uint32_t eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && ebx & bit_AVX512F && has_states(0xe6);
}
