/*
 * Random code at CPL 0, with registers that point to code, page tables, descriptors and devices:
 * `chaos` with seed= and rounds=. It usually ends in a triple fault. It passes as long as nothing
 * outside the guest is affected.
 */
#include "boot_info.h"
#include "cmdline.h"
#include "hostile.h"
#include "interrupts.h"
#include "random.h"
#include "string.h"

#define CODE_VA EXPERIMENT
#define CODE_PAGES 2
#define DATA_VA (EXPERIMENT + 0x10000)
#define DATA_PAGES 4

extern uint64_t page_map_level_4[512];
extern uint8_t gdt_pointer[];
extern uint64_t interrupt_descriptor_table[];

static uint64_t random_state;
static uint8_t *code;

/* Opcodes with more effects than most: system instructions, strings, control transfers, SIMD. */
static const uint8_t likely[] = {
    0x0f, 0x0f, 0x0f, 0x0f, 0x01, 0x00, 0x20, 0x22, 0x30, 0x32, 0xa4, 0xa5, 0xaa, 0xab,
    0xf3, 0xf2, 0xf0, 0x66, 0x67, 0x48, 0x4c, 0xcf, 0xcb, 0xc3, 0xe8, 0xff, 0xcd, 0xcc,
    0xfb, 0xfa, 0x9d, 0x9c, 0x8e, 0x8c, 0xc7, 0xae, 0xc4, 0xc5, 0x62, 0xd9, 0xdf, 0x86,
};

static void fill_code(void)
{
    for (unsigned i = 0; i < PAGE_SIZE; i++) {
        uint64_t random = random_next(&random_state);
        code[i] = random & 0x100 ? likely[(random >> 16) % sizeof likely] : (uint8_t)random;
    }
}

static uint64_t random_place(void)
{
    uint64_t random = random_next(&random_state);
    uint64_t offset = random >> 32 & 0xff8;

    switch (random & 15) {
    case 0:
        return (uintptr_t)page_map_level_4 + offset;
    case 1:
        return (uintptr_t)interrupt_descriptor_table + offset;
    case 2:
        return (uintptr_t)gdt_pointer;
    case 3:
        return DEVICE_GPA + offset;
    case 4:
        return HOLE_GPA + offset;
    case 5:
        return ram_end() - 4;
    case 6:
        return CODE_VA + offset;
    case 7:
        return random;
    default:
        return DATA_VA + PAGE_SIZE + offset;
    }
}

static uint64_t places[16];

static void run(uint64_t va)
{
    for (unsigned i = 0; i < 16; i++)
        places[i] = random_place();
    places[0] = va;
    __asm__ volatile("mov %[places], %%rax\n"
                     "mov 8(%%rax), %%rcx\n mov 16(%%rax), %%rdx\n mov 24(%%rax), %%rbx\n"
                     "mov 32(%%rax), %%rsp\n mov 40(%%rax), %%rbp\n mov 48(%%rax), %%rsi\n"
                     "mov 56(%%rax), %%rdi\n mov 64(%%rax), %%r8\n mov 72(%%rax), %%r9\n"
                     "mov 80(%%rax), %%r10\n mov 88(%%rax), %%r11\n mov 96(%%rax), %%r12\n"
                     "mov 104(%%rax), %%r13\n mov 112(%%rax), %%r14\n mov 120(%%rax), %%r15\n"
                     "jmp *(%%rax)"
                     :
                     : [places] "r"(places)
                     : "memory");
    __builtin_unreachable();
}

static enum verdict chaos(void)
{
    unsigned rounds = (unsigned)cmdline_number("rounds", 2000);

    random_state = cmdline_number("seed", 1) * RANDOM_SEED;
    code = (uint8_t *)page_take();
    for (unsigned i = 0; i < CODE_PAGES; i++) /* the same page again */
        page_map(CODE_VA + i * PAGE_SIZE, (uintptr_t)code | PTE_ALL);
    for (unsigned i = 0; i < DATA_PAGES; i++)
        page_map(DATA_VA + i * PAGE_SIZE, page_take() | PTE_ALL);
    unsigned exceptions = 0;
    for (unsigned i = 0; i < rounds; i++) {
        if (i % 16 == 0)
            fill_code();
        uint64_t va = CODE_VA + (random_next(&random_state) & 0xfff);
        struct attempt result;
        if (i & 1)
            result = attempt(run, va);
        else
            result = attempt_cpl3(va, DATA_VA + 2 * PAGE_SIZE, random_place());
        exceptions += result.vector != NO_EXCEPTION;
    }
    return test_passed("rounds=%u exceptions=%u", rounds, exceptions);
}

static enum verdict test_chaos(void)
{
    return run_at_cpl0(chaos);
}

static const struct test tests[] = {
    {"chaos", test_chaos},
};

const struct test_suite test_suite_chaos = TEST_SUITE(tests);
