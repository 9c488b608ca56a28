/* Breakpoints in DR0 to DR3: of instructions and of data, at CPL 0 and in programs. */
#include "hostile.h"

#define DR6_GENERAL_DETECT (1ull << 13)
#define DR7_FIXED 0x400ull
#define DR7_GENERAL_DETECT (1ull << 13)
/* Of the breakpoint in DR`n`. */
#define DR7_GLOBAL(n) (2ull << 2 * (n))
#define DR7_EXECUTION(n) DR7_GLOBAL(n)
#define DR7_WRITE(n) (DR7_GLOBAL(n) | 1ull << (16 + 4 * (n)))
#define DR7_ACCESS(n) (DR7_GLOBAL(n) | 3ull << (16 + 4 * (n)))
#define DR7_LENGTH_4(n) (3ull << (18 + 4 * (n)))
#define DR7_LENGTH_8(n) (2ull << (18 + 4 * (n)))

static uint64_t read_dr6(void)
{
    uint64_t value;
    __asm__ volatile("mov %%dr6, %0" : "=r"(value));
    return value;
}

static void write_dr6(uint64_t value)
{
    __asm__ volatile("mov %0, %%dr6" : : "r"(value));
}

static void write_dr7(uint64_t value)
{
    __asm__ volatile("mov %0, %%dr7" : : "r"(value | DR7_FIXED));
}

static void set_breakpoint(unsigned number, uint64_t address)
{
    switch (number) {
    case 0:
        __asm__ volatile("mov %0, %%dr0" : : "r"(address));
        break;
    case 3:
        __asm__ volatile("mov %0, %%dr3" : : "r"(address));
        break;
    }
}

extern const char breakpoint_store_end[], breakpoint_target[];

/* Stores 4 bytes; the instruction is over at breakpoint_store_end. */
__attribute__((noinline, noclone)) static void store_4(uint64_t va)
{
    __asm__ volatile("movl $7, (%0)\n"
                     ".globl breakpoint_store_end\nbreakpoint_store_end: nop"
                     :
                     : "r"(va)
                     : "memory");
}

__attribute__((noinline, noclone)) static void load_1(uint64_t va)
{
    (void)*(volatile uint8_t *)va;
}

__attribute__((noinline, noclone)) static void run_target(uint64_t unused)
{
    (void)unused;
    __asm__ volatile("nop\n.globl breakpoint_target\nbreakpoint_target: nop");
}

__attribute__((noinline, noclone)) static void fill(uint64_t va)
{
    uint64_t count = 32;
    __asm__ volatile("rep stosb" : "+D"(va), "+c"(count) : "a"(1) : "memory");
}

static const struct {
    attempt_function *run;
    uint64_t address, control, vector, hits;
} cases[] = {
    {store_4, EXPERIMENT, DR7_WRITE(0) | DR7_LENGTH_4(0), VECTOR_DB, 1},
    {store_4, EXPERIMENT + 3, DR7_WRITE(0), VECTOR_DB, 1},
    {store_4, EXPERIMENT + 4, DR7_WRITE(0) | DR7_LENGTH_4(0), NO_EXCEPTION, 0},
    {store_4, EXPERIMENT + 0, DR7_ACCESS(3) | DR7_LENGTH_8(3), VECTOR_DB, 8},
    {store_4, EXPERIMENT, 0, NO_EXCEPTION, 0},
    {load_1, EXPERIMENT, DR7_ACCESS(0), VECTOR_DB, 1},
    {load_1, EXPERIMENT, DR7_WRITE(0), NO_EXCEPTION, 0},
    {load_1, EXPERIMENT + 1, DR7_ACCESS(0), NO_EXCEPTION, 0},
    {run_target, (uintptr_t)breakpoint_target, DR7_EXECUTION(0), VECTOR_DB, 1},
    {run_target, (uintptr_t)breakpoint_target + 1, DR7_EXECUTION(0), VECTOR_DB, 1},
    {fill, EXPERIMENT + 20, DR7_WRITE(0), VECTOR_DB, 1},
};

static enum verdict try_case(unsigned i)
{
    write_dr6(0);
    set_breakpoint(0, cases[i].address);
    set_breakpoint(3, cases[i].address);
    write_dr7(cases[i].control);
    struct attempt result = attempt(cases[i].run, EXPERIMENT);
    write_dr7(0);
    REQUIRE(result.vector == cases[i].vector, "case %u: vector %lu", i, result.vector);
    /* What matches without being enabled may be told too. */
    REQUIRE((read_dr6() & cases[i].hits) == cases[i].hits, "case %u: DR6 %lx", i, read_dr6());
    if (cases[i].vector == NO_EXCEPTION)
        return VERDICT_PASSED;
    if (cases[i].run == store_4)
        REQUIRE(result.rip == (uintptr_t)breakpoint_store_end && load_word(EXPERIMENT) == 7,
                "case %u: after the store, not at %p", i, (void *)result.rip);
    if (cases[i].run == run_target)
        REQUIRE(result.rip == cases[i].address, "case %u: at %p", i, (void *)result.rip);
    if (cases[i].run == fill)
        REQUIRE(*(volatile uint8_t *)(EXPERIMENT + 20) == 1, "case %u: not stored", i);
    return VERDICT_PASSED;
}

static uint8_t user_stack[4096] __attribute__((aligned(16)));

static void user_body(uint64_t va)
{
    for (volatile unsigned i = 0; i < 20000; i++)
        ;
    store_4(va);
    __asm__ volatile("ud2");
}

static enum verdict breakpoints(void)
{
    page_map(EXPERIMENT, page_take() | PTE_ALL);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        store_word(EXPERIMENT, 0);
        REQUIRE_PASSED(try_case(i));
    }
    /* A program's, long enough to run natively. */
    set_breakpoint(0, EXPERIMENT);
    write_dr7(DR7_WRITE(0));
    struct attempt result = attempt_cpl3((uintptr_t)user_body,
                                         (uintptr_t)user_stack + sizeof user_stack - 8, EXPERIMENT);
    write_dr7(0);
    REQUIRE(result.vector == VECTOR_DB && result.cpl == 3 &&
                result.rip == (uintptr_t)breakpoint_store_end,
            "CPL 3: vector %lu at %p", result.vector, (void *)result.rip);
    /* A debug register is touched while that is guarded. */
    write_dr6(0);
    write_dr7(DR7_GENERAL_DETECT);
    result = attempt((attempt_function *)write_dr7, 0);
    REQUIRE(result.vector == VECTOR_DB && read_dr6() & DR6_GENERAL_DETECT,
            "general detect: vector %lu DR6 %lx", result.vector, read_dr6());
    write_dr7(0);
    return VERDICT_PASSED;
}

static enum verdict test_breakpoints(void)
{
    return run_at_cpl0(breakpoints);
}

static const struct test tests[] = {
    {"cpl0-breakpoints", test_breakpoints},
};

const struct test_suite test_suite_cpl0_breakpoints = TEST_SUITE(tests);
