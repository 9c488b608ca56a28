/* A timer's interrupt at each place of a way through system calls, exceptions and returns. */
#include "cpu.h"
#include "hostile.h"
#include "interrupts.h"
#include "lapic.h"
#include "timing.h"

#define VECTOR_TIMER 0x50
#define VECTOR_SOFTWARE 0x51
#define LAPIC_TIMER 0x320
#define LAPIC_TIMER_INITIAL 0x380
#define LAPIC_TIMER_DIVIDE 0x3e0
#define DIVIDE_BY_1 0xb
#define LVT_MASKED 0x10000

static volatile uint64_t ticks, calls;

__attribute__((interrupt)) static void on_timer(struct interrupt_frame *frame)
{
    (void)frame;
    ticks++;
    lapic_write(LAPIC_EOI, 0);
}

__attribute__((interrupt)) static void on_call(struct interrupt_frame *frame)
{
    (void)frame;
    calls++;
}

/* Counts what it does in registers that interrupts must leave alone. */
static uint64_t walk_the_path(void)
{
    uint64_t sum = 0, i = 40;
    __asm__ volatile("sti\n"
                     "1: lea 1(%[sum]), %[sum]\n"
                     "int %[vector]\n"
                     "pushf\n popf\n"
                     "push %[sum]\n pop %%rax\n cmp %%rax, %[sum]\n jne 2f\n"
                     "cli\n sti\n nop\n"
                     "mov %%ss, %%eax\n mov %%eax, %%ss\n nop\n"
                     "dec %[i]\n jnz 1b\n"
                     "2: cli"
                     : [sum] "+r"(sum), [i] "+r"(i)
                     : [vector] "i"(VECTOR_SOFTWARE)
                     : "rax", "memory", "cc");
    return sum;
}

static void set_timer(uint32_t count)
{
    lapic_write(LAPIC_TIMER_INITIAL, count);
}

static enum verdict interrupted_path(void)
{
    uint64_t rounds = 0;

    for (uint32_t delay = 1; delay < 60000; delay += delay / 16 + 1) {
        uint64_t before = ticks;
        calls = 0;
        set_timer(delay);
        REQUIRE(walk_the_path() == 40 && calls == 40, "delay %u: %lu calls", delay, calls);
        /* It comes, once. */
        for (uint64_t start = rdtsc(); ticks == before;) {
            __asm__ volatile("sti\n nop\n cli" : : : "memory");
            REQUIRE(!timed_out(start), "delay %u: no interrupt", delay);
        }
        REQUIRE(ticks == before + 1, "delay %u: %lu interrupts", delay, ticks - before);
        rounds++;
    }
    /* HLT ends with it, and with what came before it. */
    for (unsigned i = 0; i < 20; i++) {
        uint64_t before = ticks;
        set_timer(i & 1 ? 100000 : 1);
        __asm__ volatile("sti\n hlt\n cli" : : : "memory");
        REQUIRE(ticks == before + 1, "HLT %u", i);
    }
    return test_passed("rounds=%lu", rounds);
}

static enum verdict body(void)
{
    attempts_end(); /* exceptions and interrupts on the one stack, as they nest here */
    interrupt_gate_set(VECTOR_TIMER, on_timer);
    interrupt_gate_set(VECTOR_SOFTWARE, on_call);
    lapic_write(LAPIC_SPURIOUS, LAPIC_SPURIOUS_ENABLE);
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_1);
    lapic_write(LAPIC_TIMER, VECTOR_TIMER);
    enum verdict verdict = interrupted_path();
    lapic_write(LAPIC_TIMER, LVT_MASKED);
    return verdict;
}

static enum verdict test_interrupts(void)
{
    return run_at_cpl0(body);
}

static const struct test tests[] = {
    {"cpl0-interrupts", test_interrupts},
};

const struct test_suite test_suite_cpl0_interrupts = TEST_SUITE(tests);
