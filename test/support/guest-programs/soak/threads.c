/* Threads: locks, thread-local storage, and pages that one thread removes while others use them. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "soak.h"

#define THREADS 4u
#define INCREMENTS 2000u

static volatile unsigned counter;
static uint64_t atomic_counter;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static __thread unsigned own;

static void *count(void *number)
{
    own = (unsigned)(uintptr_t)number;
    for (unsigned i = 0; i < INCREMENTS; i++) {
        pthread_mutex_lock(&lock);
        counter++;
        if (i % 100 == 0)
            sched_yield();
        pthread_mutex_unlock(&lock);
        __atomic_fetch_add(&atomic_counter, 1, __ATOMIC_SEQ_CST);
        if (i % 200 == 0)
            pthread_barrier_wait(&barrier);
    }
    CHECK(own == (unsigned)(uintptr_t)number);
    return NULL;
}

/*
 * Dekker's algorithm may fail without a fence, but never with LOCK: two threads must not both read
 * 0.
 */
static volatile int flags[2], both_zero;
static pthread_barrier_t pair;

static void *dekker(void *which)
{
    int mine = (int)(uintptr_t)which;
    for (unsigned i = 0; i < 2000; i++) {
        pthread_barrier_wait(&pair);
        flags[mine] = 1;
        __asm__ volatile("lock; addl $0, (%%rsp)" : : : "memory", "cc");
        int seen = flags[1 - mine];
        pthread_barrier_wait(&pair);
        if (!seen)
            __atomic_fetch_add(&both_zero, 1, __ATOMIC_RELAXED);
        pthread_barrier_wait(&pair);
        if (mine == 0) {
            CHECK(both_zero < 2);
            both_zero = 0;
        }
        flags[mine] = 0;
    }
    return NULL;
}

void soak_threads(void)
{
    pthread_t threads[THREADS];

    counter = 0;
    atomic_counter = 0;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(!pthread_create(&threads[i], NULL, count, (void *)i));
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK(counter == THREADS * INCREMENTS && atomic_counter == THREADS * INCREMENTS);
    pthread_barrier_destroy(&barrier);

    pthread_barrier_init(&pair, NULL, 2);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(!pthread_create(&threads[i], NULL, dekker, (void *)i));
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&pair);
}

/*
 * Readers and writers use a page while its rights are taken: once mprotect() has returned, no
 * access may succeed. Each worker says that it saw the fault.
 */
static volatile uint8_t *shot;
static volatile unsigned
    revoked; /* the number of this round while the page is inaccessible; otherwise 0 */
static volatile unsigned stopping; /* no more rounds */
static unsigned stale;
static struct worker {
    pthread_t thread;
    volatile unsigned acknowledged;
    bool writes;
} workers[THREADS];

static void access_page(struct worker *worker, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        if (worker->writes)
            shot[i & 63] = 1;
        else
            (void)shot[i & 63];
    }
}

/* Reports that the page was inaccessible in this round, and waits for its end. */
static void acknowledge(struct worker *worker, unsigned round)
{
    worker->acknowledged = round;
    while (revoked == round && !stopping)
        sched_yield();
}

static void *use_page(void *argument)
{
    struct worker *worker = argument;

    while (!stopping) {
        unsigned round = revoked;
        int fault = FAULT_OF(access_page(worker, round ? 1 : 3000));
        if (fault) {
            while (!(round = revoked) && !stopping)
                sched_yield();
            if (round)
                acknowledge(worker, round);
        } else if (round && revoked == round) {
            /* The access came after mprotect() had returned. */
            __atomic_fetch_add(&stale, 1, __ATOMIC_RELAXED);
            acknowledge(worker, round);
        }
    }
    return NULL;
}

static unsigned start_workers(void *(*body)(void *))
{
    unsigned count = soak_cpus() < THREADS ? soak_cpus() : THREADS;

    stopping = revoked = stale = 0;
    for (unsigned i = 0; i < count; i++) {
        workers[i].acknowledged = 0;
        workers[i].writes = i & 1;
        CHECK(!pthread_create(&workers[i].thread, NULL, body, &workers[i]));
    }
    return count;
}

static void stop_workers(unsigned count)
{
    stopping = 1;
    for (unsigned i = 0; i < count; i++)
        pthread_join(workers[i].thread, NULL);
}

static void wait_for_workers(unsigned count, unsigned round)
{
    for (unsigned i = 0; i < count; i++) {
        while (workers[i].acknowledged != round)
            sched_yield();
    }
}

void soak_shootdown(void)
{
    shot = soak_pages(1, PROT_READ | PROT_WRITE);
    shot[0] = 1;
    unsigned count = start_workers(use_page);
    /* Fewer rounds with more workers, because each waits for all of them. */
    for (unsigned round = 1; round < 1 + 300 / (count + 1); round++) {
        soak_spin(LONG / 5);
        mprotect((void *)shot, PAGE, PROT_NONE);
        revoked = round;
        wait_for_workers(count, round);
        mprotect((void *)shot, PAGE, PROT_READ | PROT_WRITE);
        revoked = 0;
    }
    stop_workers(count);
    CHECK(stale == 0);
    munmap((void *)shot, PAGE);
}

/* The page at an address is replaced while others read it: they must never see an older one again.
 */
static void *watch_page(void *argument)
{
    struct worker *worker = argument;
    const volatile uint32_t *word = (const volatile uint32_t *)shot;

    while (!stopping) {
        unsigned least = __atomic_load_n(&revoked, __ATOMIC_ACQUIRE);
        volatile uint32_t value = 0;
        int fault = FAULT_OF(value = *word);
        CHECK(!fault);
        if (!fault && value < least)
            __atomic_fetch_add(&stale, 1, __ATOMIC_RELAXED);
        worker->acknowledged++;
        soak_spin(value % 7 ? SHORT : 2000);
    }
    return NULL;
}

void soak_shootdown_remap(void)
{
    shot = soak_pages(1, PROT_READ | PROT_WRITE);
    unsigned count = start_workers(watch_page);
    for (uint32_t round = 1; round < 1 + 800 / (count + 1); round++) {
        uint8_t *next = soak_pages(1, PROT_READ | PROT_WRITE);
        memcpy(next, &round, sizeof round);
        CHECK(mremap(next, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)shot) == shot);
        __atomic_store_n(&revoked, round, __ATOMIC_RELEASE);
        if (round % 10 == 0)
            soak_spin(LONG / 5);
    }
    stop_workers(count);
    CHECK(stale == 0);
    munmap((void *)shot, PAGE);
}
