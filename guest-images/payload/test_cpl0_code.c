/* Code where no kernel has it, and that changes while it runs. */
#include "boot_info.h"
#include "cpu.h"
#include "hostile.h"
#include "interrupts.h"
#include "smp.h"
#include "string.h"
#include "timing.h"

/* mov $value, %eax; ret */
#define RETURN_LENGTH 6
static void write_return(volatile uint8_t *at, uint32_t value)
{
    at[0] = 0xb8;
    for (unsigned i = 0; i < 4; i++)
        at[1 + i] = (uint8_t)(value >> 8 * i);
    at[5] = 0xc3;
}

static uint32_t run_at(uint64_t va)
{
    return ((uint32_t(*)(void))va)();
}

/* An instruction over two pages, each of its cuts; then without the second page. */
static enum verdict crosses_pages(void)
{
    uint64_t first = page_take(), second = page_take();

    page_map(EXPERIMENT, first | PTE_ALL);
    page_map(EXPERIMENT + PAGE_SIZE, second | PTE_ALL);
    for (unsigned before = 1; before < RETURN_LENGTH; before++) {
        uint64_t va = EXPERIMENT + PAGE_SIZE - before;
        write_return((volatile uint8_t *)va, 1000 + before);
        REQUIRE(run_at(va) == 1000 + before, "%u bytes in the first page", before);
        /* Each half changes by itself. */
        write_return((volatile uint8_t *)va, 2000 + before);
        REQUIRE(run_at(va) == 2000 + before, "changed, %u bytes in the first page", before);
        page_map(EXPERIMENT + PAGE_SIZE, 0);
        struct attempt result = try_call(va);
        REQUIRE(result.vector == VECTOR_PF && result.cr2 == EXPERIMENT + PAGE_SIZE,
                "second absent: vector %lu cr2 %p", result.vector, (void *)result.cr2);
        page_map(EXPERIMENT + PAGE_SIZE, second | PTE_ALL);
    }
    /* Map another frame there. */
    uint64_t third = page_take();
    memcpy((void *)third, (void *)second, PAGE_SIZE);
    uint64_t va = EXPERIMENT + PAGE_SIZE - 2;
    write_return((volatile uint8_t *)va, 0x11223344);
    memcpy((void *)third, (void *)second, PAGE_SIZE);
    ((volatile uint8_t *)third)[2] = 0x55;
    REQUIRE(run_at(va) == 0x11223344, "before");
    page_map(EXPERIMENT + PAGE_SIZE, third | PTE_ALL);
    REQUIRE(run_at(va) == 0x55223344, "after the second page was exchanged: %x", run_at(va));
    return VERDICT_PASSED;
}

/* Where there is no memory, or none any more. */
static enum verdict runs_off(void)
{
    static const uint64_t places[] = {DEVICE_GPA, HOLE_GPA, 0xd0000000, 0xfffffff0};

    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        page_map(EXPERIMENT, (places[i] & PTE_ADDRESS) | PTE_ALL);
        struct attempt result = try_call(EXPERIMENT);
        REQUIRE(result.vector != NO_EXCEPTION || places[i] != HOLE_GPA, "code at %p ran",
                (void *)places[i]);
    }
    /* The last bytes of RAM, going on in nothing; through two mappings of theirs. */
    uint64_t last = ram_end() - PAGE_SIZE;
    page_map(EXPERIMENT, last | PTE_ALL);
    page_map(EXPERIMENT + PAGE_SIZE, (ram_end() & PTE_ADDRESS) | PTE_ALL);
    volatile uint8_t *tail = (volatile uint8_t *)(EXPERIMENT + PAGE_SIZE - 16);
    uint8_t saved[16];
    for (unsigned i = 0; i < 16; i++)
        saved[i] = tail[i];
    for (unsigned before = 1; before < RETURN_LENGTH; before++) {
        const uint8_t code[] = {0x48, 0xb8, 1, 2, 3, 4};
        for (unsigned i = 0; i < before; i++)
            tail[16 - before + i] = code[i];
        struct attempt result = try_call(EXPERIMENT + PAGE_SIZE - before);
        (void)result; /* garbage ran, or there was an exception */
    }
    for (unsigned i = 0; i < 16; i++)
        tail[i] = saved[i];
    return VERDICT_PASSED;
}

/* Stores into what runs: the next instruction, the same one, a loop's. */
static enum verdict changes_itself(void)
{
    uint64_t frame = page_take();
    volatile uint8_t *code = (volatile uint8_t *)EXPERIMENT;

    page_map(EXPERIMENT, frame | PTE_ALL);
    page_map(EXPERIMENT + PAGE_SIZE, frame | PTE_ALL); /* an alias */
    for (unsigned i = 1; i < 300; i++) {
        /* mov %dil, 1(%rip); mov $0, %al ...: the byte that is stored is the next one's. */
        const uint8_t next[] = {0x40, 0x88, 0x3d, 1, 0, 0, 0, 0xb0, 0, 0x0f, 0xb6, 0xc0, 0xc3};
        for (unsigned k = 0; k < sizeof next; k++)
            code[k] = next[k];
        uint32_t got = ((uint32_t(*)(uint32_t))EXPERIMENT)(i & 0xff);
        REQUIRE(got == (i & 0xff), "the next instruction: %u, not %u", got, i & 0xff);
        /* By the alias: mov %dil, (%rsi). */
        const uint8_t alias[] = {0x40, 0x88, 0x3e, 0xb0, 0, 0x0f, 0xb6, 0xc0, 0xc3};
        for (unsigned k = 0; k < sizeof alias; k++)
            code[k] = alias[k];
        got = ((uint32_t(*)(uint32_t, uint64_t))EXPERIMENT)(i & 0xff, EXPERIMENT + PAGE_SIZE + 4);
        REQUIRE(got == (i & 0xff), "by an alias: %u, not %u", got, i & 0xff);
        /* The instruction stores over itself, and is not executed again. */
        const uint8_t itself[] = {0xb8, 7, 0, 0, 0, 0xc6, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xf4, 0xc3};
        for (unsigned k = 0; k < sizeof itself; k++)
            code[k] = itself[k];
        REQUIRE(run_at(EXPERIMENT) == 7 && code[5] == 0xf4, "over itself");
    }
    return VERDICT_PASSED;
}

/* ---- another CPU writes the code ---- */

static uint64_t shared_code;
static volatile uint32_t written, seen, stopping, neighbour_ready;

static void write_code(uint64_t unused, struct interrupt_frame *frame)
{
    (void)unused;
    (void)frame;
    neighbour_ready = 1;
    while (!shared_code)
        cpu_relax();
    for (uint32_t i = 1; !stopping; i++) {
        write_return((volatile uint8_t *)shared_code, i);
        __atomic_store_n(&written, i, __ATOMIC_RELEASE);
        while (__atomic_load_n(&seen, __ATOMIC_ACQUIRE) != i && !stopping)
            cpu_relax();
    }
    cpl0_rest();
}

/* At CPL 0 before attempts begin: they change what an exception does, on all CPUs. */
static void neighbour_work(uint64_t cpu)
{
    if (cpu == 1)
        cpl0_call(write_code, 0);
}

static enum verdict neighbour(void)
{
    uint64_t page = page_take();

    write_return((volatile uint8_t *)page, 0);
    page_map(EXPERIMENT, page | PTE_ALL);
    shared_code = page;
    for (uint32_t i = 1; i <= 500; i++) {
        uint64_t start = rdtsc();
        while (__atomic_load_n(&written, __ATOMIC_ACQUIRE) != i)
            REQUIRE(!timed_out(start), "the other CPU is gone");
        cpuid(0, 0); /* serializes, as the manual asks */
        uint32_t got = run_at(i & 1 ? EXPERIMENT : shared_code);
        REQUIRE(got == i, "%u, not %u", got, i);
        __atomic_store_n(&seen, i, __ATOMIC_RELEASE);
    }
    stopping = 1;
    return VERDICT_PASSED;
}

static enum verdict test_crosses(void)
{
    return run_at_cpl0(crosses_pages);
}
static enum verdict test_runs_off(void)
{
    return run_at_cpl0(runs_off);
}
static enum verdict test_itself(void)
{
    return run_at_cpl0(changes_itself);
}
static enum verdict test_neighbour(void)
{
    smp_start(neighbour_work);
    for (uint64_t start = rdtsc(); !neighbour_ready && !timed_out(start);)
        cpu_relax();
    REQUIRE(neighbour_ready, "there is no second CPU");
    return run_at_cpl0(neighbour);
}

static const struct test tests[] = {
    {"cpl0-code-cross", test_crosses},
    {"cpl0-code-nowhere", test_runs_off},
    {"cpl0-code-self", test_itself},
    {"race-code", test_neighbour},
};

const struct test_suite test_suite_cpl0_code = TEST_SUITE(tests);
