/* Processes that start and end, pipes between them, and programs that run 32-bit code. */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak.h"

static int exit_with(void *code)
{
    soak_spin(*(int *)code & 1 ? LONG : SHORT);
    return *(int *)code;
}

static void pass_bytes(void)
{
    static uint8_t buffer[65536];
    int pipes[2];

    CHECK(!pipe(pipes));
    pid_t child = fork();
    if (child == 0) {
        close(pipes[0]);
        for (unsigned i = 0; i < 20; i++) {
            memset(buffer, (int)i, sizeof buffer);
            for (size_t done = 0; done < sizeof buffer;) {
                ssize_t written = write(pipes[1], buffer + done, sizeof buffer - done);
                if (written <= 0)
                    _exit(1);
                done += (size_t)written;
            }
        }
        _exit(0);
    }
    close(pipes[1]);
    size_t total = 0;
    ssize_t got;
    while ((got = read(pipes[0], buffer, 5000)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            CHECK(buffer[i] == (total + (size_t)i) / sizeof buffer);
        total += (size_t)got;
    }
    CHECK(total == 20 * sizeof buffer);
    close(pipes[0]);
    CHECK(soak_wait(child) == 0);
}

void soak_processes(void)
{
    for (int i = 0; i < 60; i++)
        CHECK(soak_child(exit_with, &i) == i);
    /* Many concurrent processes. */
    pid_t children[16];
    for (unsigned i = 0; i < 16; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            soak_spin(LONG);
            _exit((int)i);
        }
    }
    for (unsigned i = 0; i < 16; i++)
        CHECK(soak_wait(children[i]) == (int)i);
    pass_bytes();
}

/*
 * 32-bit code: a far call into the kernel's code segment for such programs, on a stack below 4 GiB.
 * It computes over an array, uses SSE and x87, and comes back by a far return.
 */
#define USER32_CS 0x23

static const uint8_t sum_code[] = {
    0x6a, 0x2b, 0x1f, /*    push 0x2b; pop ds: the data segment, which 64-bit code needs not */
    0x6a, 0x2b, 0x07, /*    push 0x2b; pop es */
    0x31, 0xc0,       /*    xor eax, eax */
    0x31, 0xd2,       /*    xor edx, edx */
    0x03, 0x04, 0x97, /* 1: add eax, [edi + 4 * edx] */
    0x69, 0xc0, 3,    0,    0, 0, /*    imul eax, eax, 3 */
    0x60, 0x61,                   /*    pusha; popa */
    0x42,                         /*    inc edx */
    0x39, 0xf2,                   /*    cmp edx, esi */
    0x75, 0xf0,                   /*    jne 1b */
    0xdb, 0x07,                   /*    fild dword [edi] */
    0xdb, 0x1f,                   /*    fistp dword [edi] */
    0xf3, 0x0f, 0x6f, 0x07,       /*    movdqu xmm0, [edi] */
    0x66, 0x0f, 0xfe, 0xc0,       /*    paddd xmm0, xmm0 */
    0xf3, 0x0f, 0x7f, 0x07,       /*    movdqu [edi], xmm0 */
    0xcb,                         /*    retf: to the 64-bit segment */
};

static uint32_t call_32(uint8_t *code, void *stack_top, uint32_t *values, uint32_t count)
{
    /* Neither on the stack, which is switched, nor in a register, whose upper half 32-bit code
     * clears. */
    static struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) target;
    static void *stack;
    uint32_t result;

    target.offset = (uint32_t)(uintptr_t)code;
    target.selector = USER32_CS;
    __asm__ volatile("mov %%rsp, %[old]\n mov %[new], %%rsp\n lcall *%[target]\n mov %[old], %%rsp"
                     : "=a"(result), [old] "+m"(stack)
                     : [target] "m"(target), [new] "r"(stack_top), "D"(values), "S"(count)
                     : "rbx", "rcx", "rdx", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "xmm0", "memory", "cc");
    return result;
}

static bool calls_end;

/* Changes of a page's protection interrupt the other CPUs that run this process. */
static void *interrupt_others(void *page)
{
    while (!__atomic_load_n(&calls_end, __ATOMIC_RELAXED)) {
        CHECK(mprotect(page, PAGE, PROT_READ) == 0);
        CHECK(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
        *(volatile uint8_t *)page = 1;
    }
    return NULL;
}

/* Interrupts come between the call, which natively may be refused, and its execution. */
static void call_amid_interrupts(uint8_t *code, void *stack_top, uint32_t *values)
{
    uint8_t *page = soak_pages(1, PROT_READ | PROT_WRITE);
    pthread_t thread;

    calls_end = false;
    CHECK(!pthread_create(&thread, NULL, interrupt_others, page));
    for (unsigned i = 0; i < 2000; i++) {
        values[0] = i;
        CHECK(call_32(code, stack_top, values, 1) == 3 * i);
    }
    __atomic_store_n(&calls_end, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    munmap(page, PAGE);
}

void soak_compat(void)
{
    /* Code, stack and data below 4 GiB. */
    uint8_t *low = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    CHECK(low != MAP_FAILED);
    if (low == MAP_FAILED)
        return;
    memcpy(low, sum_code, sizeof sum_code);
    uint32_t *values = (uint32_t *)(low + PAGE);
    for (unsigned round = 0; round < 20; round++) {
        unsigned count = round & 1 ? 1000 : 3;
        uint32_t expected = 0, first = round * 77 + 1;
        for (unsigned i = 0; i < count; i++) {
            values[i] = first + i;
            expected = (expected + values[i]) * 3;
        }
        uint32_t result = call_32(low, low + 4 * PAGE - 64, values, count);
        CHECK(result == expected);
        CHECK(values[0] == 2 * first && values[3] == (count > 3 ? 2 * (first + 3) : values[3]));
    }
    call_amid_interrupts(low, low + 4 * PAGE - 64, values);
    munmap(low, 4 * PAGE);
}
