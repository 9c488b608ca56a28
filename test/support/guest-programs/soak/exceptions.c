/* Signals, processor exceptions as signals, single steps and breakpoints, 32-bit code. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak.h"

static volatile sig_atomic_t alarms;
static void on_alarm(int number)
{
    (void)number;
    alarms++;
}

/* A timer interrupts a computation all the time; its result is right. */
void soak_signals(void)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    struct itimerval every = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    double sum = 0;
    uint64_t product = 1;
    const unsigned steps = 20000000;

    alarms = 0;
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &every, NULL);
    for (unsigned i = 0; i < steps; i++) {
        sum += i * 0.5;
        product = product * 6364136223846793005u + 1;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK(sum == 0.25 * (steps - 1.0) * steps);
    uint64_t expected = 1;
    for (unsigned i = 0; i < steps; i++) {
        expected = expected * 6364136223846793005u + 1;
        __asm__ volatile("" : "+r"(expected));
    }
    CHECK(product == expected);
    CHECK(alarms > 2);
    sigaction(SIGALRM, &before, NULL);
}

static int divide(void *spin)
{
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("xor %%ecx, %%ecx\n div %%ecx" : : : "rax", "rcx", "rdx");
    return 0;
}
static int undefined(void *spin)
{
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("ud2");
    return 0;
}
static int breakpoint(void *spin)
{
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("int3");
    return 0;
}
static int halt(void *spin)
{
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("hlt");
    return 0;
}
static int port(void *spin)
{
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("outb %%al, $0xe0" : : "a"(0));
    return 0;
}
static int control_register(void *spin)
{
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("mov %%cr0, %%rax" : : : "rax");
    return 0;
}
static int own_vector(void *spin)
{
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("int $0x20");
    return 0;
}
static int misaligned(void *spin)
{
    static uint8_t bytes[64];
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("movaps %%xmm0, (%0)" : : "r"(bytes + 1) : "memory");
    return 0;
}
static int non_canonical(void *spin)
{
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("mov (%0), %%eax" : : "r"(0x8000000000000000) : "rax");
    return 0;
}
static int divide_unmasked(void *spin)
{
    uint32_t mxcsr = 0x1d80; /* ZM clear */
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("ldmxcsr %0\n xorps %%xmm1, %%xmm1\n movl $0x3f800000, %%eax\n"
                     "movd %%eax, %%xmm0\n divss %%xmm1, %%xmm0"
                     :
                     : "m"(mxcsr)
                     : "rax", "xmm0", "xmm1");
    return 0;
}
static int divide_x87(void *spin)
{
    uint16_t control = 0x37b; /* ZM clear */
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("fninit\n fldcw %0\n fld1\n fldz\n fdivrp\n fld1\n fldz\n fdivp\n fwait"
                     :
                     : "m"(control));
    return 0;
}

/* getpid by the table of 32-bit programs, where the kernel has such a gate; SIGSEGV, not SIGILL. */
static int old_system_call(void *spin)
{
    long number = 20;
    soak_spin(*(unsigned *)spin);
    __asm__ volatile("int $0x80" : "+a"(number) : : "memory", "r8", "r9", "r10", "r11");
    return number == getpid() ? 0 : 1;
}

void soak_exceptions(void)
{
    static const struct {
        int (*body)(void *);
        int signal;
    } all[] = {
        {divide, SIGFPE},          {undefined, SIGILL},   {breakpoint, SIGTRAP},
        {halt, SIGSEGV},           {port, SIGSEGV},       {control_register, SIGSEGV},
        {own_vector, SIGSEGV},     {misaligned, SIGSEGV}, {non_canonical, SIGSEGV},
        {divide_unmasked, SIGFPE}, {divide_x87, SIGFPE},
    };
    /* Executed with and without a long loop before. */
    for (unsigned i = 0; i < 2 * sizeof all / sizeof *all; i++) {
        unsigned spin = i & 1 ? LONG : 1;
        int result = soak_child(all[i / 2].body, &spin), expected = 1000 + all[i / 2].signal;
        CHECK(result == expected);
        if (result != expected)
            printf("exception %u after %u steps: %d, not %d\n", i / 2, spin, result, expected);
    }
    for (unsigned i = 0; i < 2; i++) {
        unsigned spin = i ? LONG : 1;
        int result = soak_child(old_system_call, &spin);
        CHECK(result == 0 || result == 1000 + SIGSEGV);
    }
}

/* RFLAGS.TF of a program's own: a SIGTRAP after each instruction. */
static volatile unsigned steps;
static volatile uintptr_t stepped[64];
static void on_step(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    if (steps < 64)
        stepped[steps] = (uintptr_t)info->si_addr;
    steps++;
}

void soak_single_step(void)
{
    struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, before;
    uint64_t value;

    sigaction(SIGTRAP, &action, &before);
    for (unsigned round = 0; round < 4; round++) {
        steps = 0;
        if (round & 1)
            soak_spin(LONG);
        __asm__ volatile("pushf\n orl $0x100, (%%rsp)\n popf\n"
                         "mov $1, %0\n add %0, %0\n push %0\n pop %0\n"
                         "pushf\n andl $~0x100, (%%rsp)\n popf\n"
                         : "=&r"(value)
                         :
                         : "memory", "cc");
        CHECK(value == 2);
        /* The four, PUSHF, AND, and POPF, which ends it: its own trap is still taken. */
        CHECK(steps == 7);
        for (unsigned i = 1; i < 7; i++)
            CHECK(stepped[i] > stepped[i - 1] && stepped[i] - stepped[i - 1] < 16);
    }
    sigaction(SIGTRAP, &before, NULL);
}

/* A debugger's: single steps and a hardware breakpoint in another process. */
static volatile int watched;

static int debuggee(void *unused)
{
    (void)unused;
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    watched = 1;
    soak_spin(1000);
    watched = 2;
    return 5;
}

static long poke_debug_register(pid_t child, unsigned number, uint64_t value)
{
    return ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg) + 8 * number, value);
}

void soak_breakpoints(void)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(debuggee(NULL));
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    unsigned stepped_count = 0;
    for (; stepped_count < 50; stepped_count++) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL))
            break;
        CHECK(waitpid(child, &status, 0) == child);
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
            break;
    }
    CHECK(stepped_count == 50);
    /* Writes to `watched`: both of them trap, if the machine has breakpoints. */
    bool has_breakpoints = !poke_debug_register(child, 0, (uintptr_t)&watched) &&
                           !poke_debug_register(child, 7, 0xd0001);
    unsigned hits = 0;
    for (;;) {
        if (ptrace(PTRACE_CONT, child, NULL, NULL) || waitpid(child, &status, 0) != child ||
            !WIFSTOPPED(status))
            break;
        CHECK(WSTOPSIG(status) == SIGTRAP);
        hits++;
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    CHECK(!has_breakpoints || (hits >= 1 && hits <= 2));
}
