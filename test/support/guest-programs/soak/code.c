/* Programs that modify the code they run. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "soak.h"

typedef int function(void);

/* mov $value, %eax; ret */
static void write_function(volatile uint8_t *at, uint32_t value)
{
    const uint8_t bytes[] = {
        0xb8, (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24),
        0xc3};
    for (unsigned i = 0; i < sizeof bytes; i++)
        at[i] = bytes[i];
}

static int call(const volatile uint8_t *at)
{
    return ((function *)(uintptr_t)at)();
}

/* In place, with and without changes of protection, across the end of a page, and through another
 * mapping. */
static void rewrite(uint8_t *page, unsigned offset)
{
    for (unsigned i = 0; i < 300; i++) {
        bool protect = i % 3 == 0;
        if (protect)
            mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE);
        write_function(page + offset, i);
        if (protect)
            mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC);
        if (i % 7 == 0)
            soak_spin(LONG / 5);
        if (i % 5 == 0)
            sched_yield();
        CHECK(call(page + offset) == (int)i);
        if (protect)
            mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    }
}

static void rewrite_by_alias(void)
{
    int fd = memfd_create("soak", 0);
    CHECK(fd >= 0 && !ftruncate(fd, PAGE));
    uint8_t *written = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    uint8_t *executed = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    CHECK(written != MAP_FAILED && executed != MAP_FAILED);
    for (unsigned i = 0; i < 300; i++) {
        write_function(written + 100, i);
        if (i % 7 == 0)
            soak_spin(LONG / 5);
        CHECK(call(executed + 100) == (int)i);
    }
    /* The kernel modifies the page: read(). */
    int pipes[2];
    CHECK(!pipe(pipes));
    for (unsigned i = 0; i < 50; i++) {
        uint8_t bytes[6];
        write_function(bytes, i);
        CHECK(write(pipes[1], bytes, sizeof bytes) == sizeof bytes);
        CHECK(read(pipes[0], written + 100, sizeof bytes) == sizeof bytes);
        CHECK(call(executed + 100) == (int)i);
    }
    close(pipes[0]);
    close(pipes[1]);
    munmap(written, PAGE);
    munmap(executed, PAGE);
    close(fd);
}

/*
 * An instruction that changes the next one but a few: on a processor the store is seen by the
 * fetch (SDM 3A 11.6, no jump is needed on those of today).
 */
static void modify_what_follows(uint8_t *page)
{
    const uint8_t code[] = {0x40, 0x88, 0x3d, 0x05, 0, 0, 0,        /* mov %dil, 5(%rip) */
                            0xeb, 0x00,                             /* jmp to the next */
                            0x90, 0x90, 0xb8, 0,    0, 0, 0, 0xc3}; /* mov $?, %eax; ret */
    memcpy(page, code, sizeof code);
    for (unsigned i = 0; i < 200; i++) {
        if (i % 50 == 49)
            soak_spin(LONG);
        CHECK(((int (*)(int))(uintptr_t)page)((int)(i & 0x7f)) == (int)(i & 0x7f));
    }
}

void soak_code(void)
{
    uint8_t *page = soak_pages(2, PROT_READ | PROT_WRITE | PROT_EXEC);

    rewrite(page, 16);
    rewrite(page, PAGE - 3);
    modify_what_follows(page);
    rewrite_by_alias();
    munmap(page, 2 * PAGE);
}

/* One thread executes code that another writes. Once it has been told of a value, it must return
 * it. */
static uint8_t *shared_code;
static volatile unsigned published, acknowledged;
#define PUBLISHED_MAX 400u

static void serialize(void)
{
    uint32_t eax = 0, ebx, ecx = 0, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx) : : "memory");
}

static void *execute(void *unused)
{
    (void)unused;
    for (unsigned seen = 0; seen < PUBLISHED_MAX;) {
        unsigned value = __atomic_load_n(&published, __ATOMIC_ACQUIRE);
        if (value == seen) {
            sched_yield();
            continue;
        }
        serialize();
        CHECK(call(shared_code) == (int)value);
        seen = value;
        __atomic_store_n(&acknowledged, seen, __ATOMIC_RELEASE);
    }
    return NULL;
}

void soak_code_of_others(void)
{
    pthread_t thread;

    shared_code = soak_pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
    published = acknowledged = 0;
    write_function(shared_code, 0);
    CHECK(!pthread_create(&thread, NULL, execute, NULL));
    for (unsigned i = 1; i <= PUBLISHED_MAX; i++) {
        write_function(shared_code, i);
        __atomic_store_n(&published, i, __ATOMIC_RELEASE);
        while (__atomic_load_n(&acknowledged, __ATOMIC_ACQUIRE) != i)
            sched_yield();
        if (i % 10 == 0)
            soak_spin(LONG / 10);
    }
    pthread_join(thread, NULL);
    munmap(shared_code, PAGE);
}
