/* More tables, address spaces and code than anybody keeps account of: it takes longer, no more. */
#include "hostile.h"
#include "string.h"

#define VECTOR_AC 17
#define CR0_AM (1ull << 18)

extern volatile uint64_t page_map_level_4[512];

static struct {
    uint64_t va, pages, stride;
    volatile uint64_t sum;
} order;
static uint8_t user_stack[4096] __attribute__((aligned(16)));

/* Adds up the words at some addresses; long enough to run natively. */
static void user_sum(void)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < order.pages; i++)
        sum += load_word(order.va + i * order.stride);
    order.sum = sum;
    __asm__ volatile("ud2");
}

/* Alignment checks are left to KVM. */
static void user_misaligned(void)
{
    __asm__ volatile("pushf\n orl $0x40000, (%%rsp)\n popf\n movl 1(%0), %%eax\n ud2"
                     :
                     : "r"(order.va)
                     : "rax", "memory");
}

static struct attempt as_user(void (*body)(void))
{
    return attempt_cpl3((uintptr_t)body, (uintptr_t)user_stack + sizeof user_stack - 8, 0);
}

/* An address space of more page tables than are tracked: a quarter of 64 MiB, or 4,096. */
static enum verdict tables(void)
{
    enum { TABLES = 4300 };
    uint64_t frames[2] = {page_take(), page_take()};

    store_word(frames[0], 1);
    store_word(frames[1], 1000000);
    for (uint64_t i = 0; i < TABLES; i++)
        *entry_at(EXPERIMENT + (i << 21), 1) = frames[0] | PTE_ALL;
    write_cr3(read_cr3());
    order.va = EXPERIMENT;
    order.pages = TABLES;
    order.stride = 1ull << 21;
    for (unsigned i = 0; i < 5; i++) {
        /* Another table leads to the other frame each time. */
        uint64_t va = EXPERIMENT + ((uint64_t)(i * 1000) << 21);
        page_map(va, frames[1] | PTE_ALL);
        struct attempt result = as_user(user_sum);
        REQUIRE(result.vector == VECTOR_UD && order.sum == TABLES - 1 + 1000000,
                "round %u: vector %lu, sum %lu", i, result.vector, order.sum);
        page_map(va, frames[0] | PTE_ALL);
    }
    uint64_t cr0;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | CR0_AM));
    struct attempt result = as_user(user_misaligned);
    REQUIRE(result.vector == VECTOR_AC && result.cpl == 3, "misaligned: vector %lu", result.vector);
    return VERDICT_PASSED;
}

/* Address spaces, each of which runs programs, more than once. */
static enum verdict roots(void)
{
    enum { ROOTS = 200 };
    static uint64_t all[ROOTS];

    order.va = EXPERIMENT;
    order.pages = 1000;
    order.stride = 0;
    for (uint64_t i = 0; i < ROOTS; i++) {
        uint64_t frame = page_take();
        store_word(frame, i);
        page_map_level_4[EXPERIMENT_INDEX] = 0;
        page_map(EXPERIMENT, frame | PTE_ALL);
        all[i] = page_take();
        memcpy((void *)all[i], (const void *)page_map_level_4, PAGE_SIZE);
    }
    for (unsigned i = 0; i < 3 * ROOTS; i++) {
        uint64_t number = i * 7 % ROOTS;
        write_cr3(all[number]);
        struct attempt result = as_user(user_sum);
        REQUIRE(result.vector == VECTOR_UD && order.sum == number * 1000,
                "address space %lu: vector %lu, sum %lu", number, result.vector, order.sum);
    }
    return VERDICT_PASSED;
}

/* mov $value, %eax; nops, one after the other, which are decoded as well; ret */
#define CODE_NOPS 300
static void write_code(uint64_t frame, uint32_t value)
{
    uint8_t *code = (uint8_t *)frame;

    code[0] = 0xb8;
    memcpy(code + 1, &value, 4);
    memset(code + 5, 0x90, CODE_NOPS);
    code[5 + CODE_NOPS] = 0xc3;
}

/* More pages of code, and more instructions, than are kept decoded; then aliases of one. */
static enum verdict code(void)
{
    enum { PAGES = 1000, ALIASES = 2000 };
    uint64_t frame = 0;

    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < PAGES; i++) {
            if (round == 0) {
                frame = page_take();
                write_code(frame, i);
                page_map(EXPERIMENT + i * PAGE_SIZE, frame | PTE_ALL);
            }
            uint32_t got = ((uint32_t(*)(void))(EXPERIMENT + i * PAGE_SIZE))();
            REQUIRE(got == i, "page %u: %u", i, got);
        }
    }
    for (uint32_t i = 0; i < ALIASES; i++) {
        uint64_t va = EXPERIMENT + (PAGES + i) * PAGE_SIZE;
        page_map(va, frame | PTE_ALL);
        if (i % 64 == 0)
            write_code(frame, i);
        uint32_t got = ((uint32_t(*)(void))va)();
        REQUIRE(got == i / 64 * 64, "alias %u: %u", i, got);
    }
    return VERDICT_PASSED;
}

static enum verdict test_tables(void)
{
    return run_at_cpl0(tables);
}
static enum verdict test_roots(void)
{
    return run_at_cpl0(roots);
}
static enum verdict test_code(void)
{
    return run_at_cpl0(code);
}

static const struct test tests[] = {
    {"cpl0-endless-tables", test_tables},
    {"cpl0-endless-roots", test_roots},
    {"cpl0-endless-code", test_code},
};

const struct test_suite test_suite_cpl0_endless = TEST_SUITE(tests);
