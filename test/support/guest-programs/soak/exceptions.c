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

/* A timer interrupts a computation all the time; its result must be right. */
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

/* A program sets its own RFLAGS.TF: a SIGTRAP after each instruction. */
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
        /* The four, PUSHF, AND, and POPF, which clears TF: its own trap still occurs. */
        CHECK(steps == 7);
        for (unsigned i = 1; i < 7; i++)
            CHECK(stepped[i] > stepped[i - 1] && stepped[i] - stepped[i - 1] < 16);
    }
    sigaction(SIGTRAP, &before, NULL);
}

/* A debugger: single steps and hardware breakpoints of another process. */
static volatile struct {
    uint64_t before;
    uint64_t word;
    uint64_t after;
} watched __attribute__((aligned(64)));
static volatile unsigned landed;

__attribute__((noinline)) static void land(void)
{
    __asm__ volatile("" : : : "memory");
    landed++;
}

/* DR7 of a breakpoint in DR0: its kind and length. */
#define DR7_LOCAL 1ul
#define DR7_EXECUTION (DR7_LOCAL | 0ul << 16)
#define DR7_WRITE(length) (DR7_LOCAL | 1ul << 16 | (uint64_t)(length) << 18)
#define DR7_ACCESS(length) (DR7_LOCAL | 3ul << 16 | (uint64_t)(length) << 18)
enum { LENGTH_1, LENGTH_2, LENGTH_8, LENGTH_4 };

static void write_word(void)
{
    watched.word = 1;
    soak_spin(1000);
    watched.word = 2;
}

static void write_upper_byte(void)
{
    ((volatile uint8_t *)&watched.word)[7] = 1;
}

static void write_beside(void)
{
    watched.before = 1;
    watched.after = 1;
}

static void read_word(void)
{
    (void)watched.word;
}

static void add_locked(void)
{
    __asm__ volatile("lock xaddq %0, %1" : : "r"(1ul), "m"(watched.word) : "memory");
}

static void add_in_place(void)
{
    __asm__ volatile("addl $1, %0" : : "m"(watched.word) : "memory", "cc");
}

static void write_vector(void)
{
    __asm__ volatile("movups %%xmm0, %0" : : "m"(watched.before) : "memory");
}

static void write_string(void)
{
    volatile void *to = &watched;
    uint64_t count = 3;
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0ul) : "memory");
}

static void call_twice(void)
{
    land();
    land();
}

static const struct {
    void (*run)(void);
    volatile void *address;
    uint64_t control;
    unsigned hits;
} breakpoint_cases[] = {
    {call_twice, (volatile void *)land, DR7_EXECUTION, 2},
    {write_word, &watched.word, DR7_WRITE(LENGTH_8), 2},
    {write_word, &watched.word, DR7_WRITE(LENGTH_1), 2},
    {write_upper_byte, &watched.word, DR7_WRITE(LENGTH_8), 1},
    {write_upper_byte, &watched.word, DR7_WRITE(LENGTH_4), 0},
    {write_beside, &watched.word, DR7_ACCESS(LENGTH_8), 0},
    {read_word, &watched.word, DR7_ACCESS(LENGTH_2), 1},
    {read_word, &watched.word, DR7_WRITE(LENGTH_2), 0},
    {add_locked, &watched.word, DR7_WRITE(LENGTH_8), 1},
    {add_in_place, &watched.word, DR7_WRITE(LENGTH_4), 1},
    {write_vector, &watched.word, DR7_WRITE(LENGTH_8), 1},
    {write_string, &watched.word, DR7_WRITE(LENGTH_8), 1},
};

static void debuggee(void (*run)(void))
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    run();
    _exit(5);
}

static long poke_debug_register(pid_t child, unsigned number, uint64_t value)
{
    return ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg) + 8 * number, value);
}

static long peek_debug_register(pid_t child, unsigned number)
{
    return ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg) + 8 * number, NULL);
}

/* How often the program stops; ~0 if it stops elsewhere or ends wrongly. */
static unsigned count_hits(pid_t child, const volatile void *code)
{
    struct user_regs_struct registers;
    unsigned hits = 0;
    int status;

    for (;;) {
        if (ptrace(PTRACE_CONT, child, NULL, NULL) || waitpid(child, &status, 0) != child)
            return ~0u;
        if (WIFEXITED(status))
            return WEXITSTATUS(status) == 5 ? hits : ~0u;
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP ||
            (peek_debug_register(child, 6) & 15) != 1 || hits == 100)
            return ~0u;
        if (code &&
            (ptrace(PTRACE_GETREGS, child, NULL, &registers) || registers.rip != (uintptr_t)code))
            return ~0u;
        hits++;
    }
}

static pid_t start_debuggee(void (*run)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0)
        debuggee(run);
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    return child;
}

void soak_breakpoints(void)
{
    int status;
    pid_t child = start_debuggee(write_word);
    unsigned stepped_count = 0;
    for (; stepped_count < 50; stepped_count++) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL))
            break;
        CHECK(waitpid(child, &status, 0) == child);
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
            break;
    }
    CHECK(stepped_count == 50);
    CHECK(count_hits(child, NULL) == 0);
    for (unsigned i = 0; i < sizeof breakpoint_cases / sizeof *breakpoint_cases; i++) {
        bool executes = breakpoint_cases[i].control == DR7_EXECUTION;
        child = start_debuggee(breakpoint_cases[i].run);
        CHECK(!poke_debug_register(child, 0, (uintptr_t)breakpoint_cases[i].address));
        CHECK(!poke_debug_register(child, 7, breakpoint_cases[i].control));
        unsigned hits = count_hits(child, executes ? breakpoint_cases[i].address : NULL);
        if (hits != breakpoint_cases[i].hits)
            printf("breakpoint %u: %u hits, not %u\n", i, hits, breakpoint_cases[i].hits);
        CHECK(hits == breakpoint_cases[i].hits);
    }
}
