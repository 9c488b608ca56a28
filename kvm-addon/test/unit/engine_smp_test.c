/*
 * Several vCPUs, each in a thread: no write is lost, code is not executed after it has changed, and
 * the tracking of page tables is correct at the end. Each loop is like the interpreter's: it runs
 * inside, with a safe point now and then.
 */
#include <pthread.h>
#include <sched.h>

#include "../../src/pvm/code_lookup.h"
#include "../../src/pvm/engine_api.h"
#include "../check.h"
#include "engine_fake.h"
#include "tables_check.h"

#define THREADS 4u
#define DIRECT 0xffff888000000000ull
#define TABLES 12u
#define TABLES_AT 0x800000ull
#define CODE_AT 0x900000ull
#define CODE_VA 0xffffffff81000000ull
#define COUNTERS_AT 0xa00000ull

/*
 * For the build with ThreadSanitizer: guests may race for their own memory, which these functions
 * access on their behalf. All other memory is the engine's, and must not have races.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:host_load\nrace:host_store\nrace:word_apply\nrace:decode\nrace:fetch_crossing\n"
           "race:fake_store\nrace:locked_add\nrace:receive_code\nrace:receive_tables\n"
           "race:receive_pages\nrace:store_entry\nrace:write_pages\nrace:copy_dirty\n";
}

static struct fake fake;
static uint32_t stop; /* atomic */
static uint32_t bad;  /* atomic: a check has failed */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static void start(unsigned cpus)
{
    fake_init(&fake, cpus);
    stop = bad = 0;
    for (unsigned i = 0; i < FAKE_MEMORY >> 21; i++)
        *fake_entry(&fake, FAKE_ROOT, DIRECT + ((uint64_t)i << 21), 2) =
            (uint64_t)i << 21 | P | W | PS | G;
    for (unsigned i = 0; i < TABLES; i++)
        *fake_word(&fake, TABLES_AT + i * PAGE_SIZE + 8 * entry_index(DIRECT, 4)) =
            *fake_word(&fake, FAKE_ROOT + 8 * entry_index(DIRECT, 4));
    for (unsigned i = 0; i < 4; i++)
        fake_map(&fake, FAKE_ROOT, CODE_VA + i * PAGE_SIZE, (CODE_AT + i * PAGE_SIZE) | P | G);
    for (unsigned i = 0; i < cpus; i++)
        safepoint_exit(&fake.cpus[i]);
}

static void run_threads(void *(*const *bodies)(void *), unsigned count)
{
    pthread_t threads[8];
    for (unsigned i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, bodies[i], &fake.cpus[i]);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* What the run loop does between two runs. */
static void between(struct cpu *cpu)
{
    if (__atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST) < 0)
        safepoint_serve(cpu);
}

/* LOCK ADD, as its handler does it. */
static void locked_add(struct cpu *cpu, uint64_t va, uint64_t value)
{
    uint64_t *hit = tlb_write(cpu, va, 8);
    if (hit) {
        __atomic_fetch_add(hit, value, __ATOMIC_SEQ_CST);
        return;
    }
    uint64_t seen = access_load(cpu, NULL, va, 8), old;
    do {
        old = seen;
        seen = access_compare_exchange(cpu, NULL, va, 8, old, old + value);
    } while (seen != old);
}

/* A function of its own, whose frame longjmp() may clobber. Returns 0 or the reason why it left. */
__attribute__((noinline)) static int try_lookup(struct cpu *cpu, uint64_t va,
                                                struct insn *volatile *insn)
{
    return FAKE_TRY(cpu, *insn = code_lookup(cpu, va));
}

__attribute__((noinline)) static int try_locked_add(struct cpu *cpu, uint64_t va)
{
    return FAKE_TRY(cpu, locked_add(cpu, va, 1));
}

/* ---- Locked operations on data, page tables and code, which turn into each other ---- */

/* By each thread, at least. */
#define ADDITIONS 10000u
/* How often the frames were turned. */
static uint32_t turns;     /* atomic */
static uint64_t additions; /* atomic */

/* Adds to words of a page table (in ignored bits), of code and of data. */
static void *add(void *of)
{
    struct cpu *cpu = of;
    safepoint_enter(cpu);
    if (setjmp(cpu->leave) != 0)
        __atomic_store_n(&bad, 1, __ATOMIC_RELAXED);
    else
        /* Until one of them came while the frame was a table. */
        for (unsigned i = 0; i < ADDITIONS || cpu->counters->table_writes == 0; i++) {
            /* Not before there are tables, whichever thread starts first. */
            while (__atomic_load_n(&turns, __ATOMIC_SEQ_CST) == 0)
                between(cpu);
            locked_add(cpu, DIRECT + TABLES_AT + 8 * 100, 2);
            locked_add(cpu, DIRECT + CODE_AT + 8 * 100, 1);
            locked_add(cpu, DIRECT + COUNTERS_AT, 1);
            __atomic_fetch_add(&additions, 1, __ATOMIC_RELAXED);
            between(cpu);
        }
    safepoint_exit(cpu);
    __atomic_fetch_add(&stop, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Turns the frames into tables and code, and back. */
static void *turn(void *of)
{
    struct cpu *cpu = of;
    uint64_t ours = 0;
    while (__atomic_load_n(&stop, __ATOMIC_SEQ_CST) < THREADS - 1) {
        safepoint_enter(cpu);
        int why = setjmp(cpu->leave);
        if (why != 0) {
            /* Code that the other threads change all the time may have to wait. */
            if (why != INTERPRETED_ATTENTION)
                __atomic_store_n(&bad, 2, __ATOMIC_RELAXED);
            safepoint_exit(cpu);
            continue;
        }
        cpu->sregs.cr3 = TABLES_AT;
        tlb_flush_nonglobal(cpu);
        ours = tables_enter_native(cpu);
        safepoint_exit(cpu);
        if (ours)
            tables_exit_native(cpu);
        safepoint_enter(cpu);
        cpu->sregs.cr3 = FAKE_ROOT;
        tlb_flush_nonglobal(cpu);
        code_lookup(cpu, CODE_VA);
        /* The page of the counters, as code and as a table. */
        fake_store(cpu, DIRECT + TABLES_AT, 8, COUNTERS_AT | P | W | U);
        fake_store(cpu, DIRECT + TABLES_AT, 8, 0);
        safepoint_exit(cpu);
        __atomic_fetch_add(&turns, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void test_locked_operations_are_atomic(void)
{
    __atomic_store_n(&turns, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&additions, 0, __ATOMIC_SEQ_CST);
    start(THREADS);
    void *(*const bodies[])(void *) = {turn, add, add, add};
    run_threads(bodies, THREADS);
    CHECK(bad == 0);
    uint64_t total = __atomic_load_n(&additions, __ATOMIC_SEQ_CST);
    CHECK(total >= (THREADS - 1) * ADDITIONS);
    CHECK(*fake_word(&fake, TABLES_AT + 8 * 100) == 2 * total);
    CHECK(*fake_word(&fake, CODE_AT + 8 * 100) == total);
    CHECK(*fake_word(&fake, COUNTERS_AT) == total);
    fake_free(&fake);
}

/* ---- Code that another vCPU and a device change ---- */

/* The last value stored in the instruction's last byte, by each writer. */
static uint64_t published[2];
#define CODE_CHANGES 20000u

static uint64_t place_of(unsigned writer)
{
    return CODE_AT + writer * PAGE_SIZE + 4;
}

static void *change_code(void *of)
{
    struct cpu *cpu = of;
    safepoint_enter(cpu);
    if (setjmp(cpu->leave) != 0)
        __atomic_store_n(&bad, 3, __ATOMIC_RELAXED);
    else
        for (unsigned i = 1; i <= CODE_CHANGES; i++) {
            fake_store(cpu, DIRECT + place_of(0), 1, i & 0xff);
            __atomic_store_n(&published[0], i, __ATOMIC_RELEASE);
            /* Most stores find a write entry. */
            if (i % 16 != 0)
                continue;
            between(cpu);
            if (i % 64 == 0) {
                safepoint_exit(cpu);
                sched_yield();
                safepoint_enter(cpu);
            }
        }
    safepoint_exit(cpu);
    __atomic_fetch_add(&stop, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* A device: no vCPU. */
static void *receive_code(void *of)
{
    (void)of;
    for (unsigned i = 1; i <= CODE_CHANGES; i++) {
        __atomic_store_n((uint8_t *)fake_ram(&fake, place_of(1)), (uint8_t)i, __ATOMIC_RELAXED);
        engine_memory_written(&fake.engine, place_of(1), 1);
        __atomic_store_n(&published[1], i, __ATOMIC_RELEASE);
        if (i % 4 == 0)
            sched_yield();
    }
    __atomic_fetch_add(&stop, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Never sees a byte older than the one published before its safe point. */
static void *execute_code(void *of)
{
    struct cpu *cpu = of;
    while (__atomic_load_n(&stop, __ATOMIC_SEQ_CST) < 2) {
        safepoint_enter(cpu);
        for (unsigned i = 0; i < 64; i++) {
            unsigned writer = i & 1;
            uint64_t least = __atomic_load_n(&published[writer], __ATOMIC_ACQUIRE);
            between(cpu);
            struct insn *volatile insn = NULL;
            int why = try_lookup(cpu, CODE_VA + writer * PAGE_SIZE, &insn);
            if (why == INTERPRETED_ATTENTION)
                continue;
            if (why != 0) {
                __atomic_store_n(&bad, 4, __ATOMIC_RELAXED);
                break;
            }
            uint64_t most = __atomic_load_n(&published[writer], __ATOMIC_ACQUIRE) + 1;
            /* For a counter's last byte. */
            uint8_t ahead = (uint8_t)((uint8_t)insn->displacement - (uint8_t)least);
            if (most - least < 100 && ahead > most - least + 1)
                __atomic_store_n(&bad, 5, __ATOMIC_RELAXED);
        }
        safepoint_exit(cpu);
    }
    return NULL;
}

static void test_code_that_others_change(void)
{
    start(4);
    memset(fake_ram(&fake, CODE_AT), 0x85, 4 * PAGE_SIZE);
    *(uint8_t *)fake_ram(&fake, place_of(0)) = *(uint8_t *)fake_ram(&fake, place_of(1)) = 0;
    published[0] = published[1] = 0;
    void *(*const bodies[])(void *) = {execute_code, change_code, receive_code, execute_code};
    run_threads(bodies, 4);
    CHECK(bad == 0);
    CHECK(fake.cpus[0].counters->code_invalidations + fake.cpus[3].counters->code_invalidations >
          0);
    fake_free(&fake);
}

/* ---- Page tables changed by all threads, some of them at CPL 3 natively, and by a device ---- */

#define TABLE_STEPS 4000u

static void store_entry(struct cpu *cpu, uint64_t *random)
{
    uint64_t table = TABLES_AT + next_random(random) % TABLES * PAGE_SIZE;
    uint64_t va = DIRECT + table + 8 * (next_random(random) % 3);
    uint64_t entry = (TABLES_AT + next_random(random) % TABLES * PAGE_SIZE) | P | W | U;
    if (next_random(random) % 3 == 0)
        entry = 0;
    struct insn insn = {.place = 0};
    switch (next_random(random) % 4) {
    case 0:
        access_exchange(cpu, &insn, va, 8, entry);
        break;
    case 1:
        access_compare_exchange(cpu, &insn, va, 8, access_load(cpu, &insn, va, 8), entry);
        break;
    default: {
        uint64_t *hit = tlb_write(cpu, va, 8);
        if (hit)
            __atomic_store_n(hit, entry, __ATOMIC_RELAXED);
        else
            access_store(cpu, &insn, va, 8, entry);
    }
    }
}

static void execute_zaps(void)
{
    uint64_t zaps[16];
    while (tables_take_zaps(&fake.engine, zaps, 16) > 0)
        tables_zaps_done(&fake.engine);
}

static void *change_tables(void *of)
{
    struct cpu *cpu = of;
    uint64_t random = cpu->index + 1;
    for (unsigned i = 0; i < TABLE_STEPS; i++) {
        if (next_random(&random) % 8 == 0) {
            safepoint_enter(cpu);
            cpu->sregs.cr3 = TABLES_AT + next_random(&random) % TABLES * PAGE_SIZE;
            tlb_flush_nonglobal(cpu);
            uint64_t ours = tables_enter_native(cpu);
            safepoint_exit(cpu);
            if (!ours)
                continue;
            execute_zaps();
            if (next_random(&random) % 4 == 0)
                sched_yield();
            tables_exit_native(cpu);
            continue;
        }
        safepoint_enter(cpu);
        int why = FAKE_TRY(cpu, store_entry(cpu, &random));
        between(cpu);
        cpu_attended(cpu, ATTENTION_ZAPS);
        safepoint_exit(cpu);
        if (why == INTERPRETED_ATTENTION)
            execute_zaps();
        else if (why != 0)
            __atomic_store_n(&bad, 6, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *receive_tables(void *of)
{
    (void)of;
    uint64_t random = 77;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t gpa = TABLES_AT + next_random(&random) % TABLES * PAGE_SIZE;
        __atomic_store_n(fake_word(&fake, gpa), (TABLES_AT + PAGE_SIZE) | P | U, __ATOMIC_RELAXED);
        engine_memory_written(&fake.engine, gpa, 8);
        sched_yield();
    }
    return NULL;
}

static void check_no_native_runs(void)
{
    CHECK(bad == 0);
    CHECK(fake.engine.native_running == 0 && fake.engine.native_epoch > 100);
}

static void test_tables_that_vcpus_change(void)
{
    start(3);
    void *(*const bodies[])(void *) = {change_tables, change_tables, change_tables};
    run_threads(bodies, 3);
    check_no_native_runs();
    /* Pins are released with the next change or native run. */
    for (unsigned i = 0; i < 3; i++) {
        struct cpu *cpu = &fake.cpus[i];
        safepoint_enter(cpu);
        cpu->sregs.cr3 = TABLES_AT;
        if (CHECK(tables_enter_native(cpu) != 0))
            tables_exit_native(cpu);
        safepoint_exit(cpu);
    }
    CHECK(references_are_right(&fake));
    fake_free(&fake);
}

/*
 * Nothing is known of a device's store before the device reports it. A table that is let go in
 * between has other entries than those that were counted, so counts are not compared here.
 */
static void test_tables_that_all_change(void)
{
    start(3);
    void *(*const bodies[])(void *) = {change_tables, change_tables, change_tables};
    pthread_t device;
    pthread_create(&device, NULL, receive_tables, NULL);
    run_threads(bodies, 3);
    pthread_join(device, NULL);
    check_no_native_runs();
    fake_free(&fake);
}

/* ---- The dirty bitmap ---- */

#define DIRTY_AT 0xc00000ull
#define DIRTY_FRAMES 64u
#define DEVICE_FRAMES 8u /* of them; the last is the code's */
#define DIRTY_ROUNDS 30u

static void *write_pages(void *of)
{
    struct cpu *cpu = of;
    uint64_t random = cpu->index + 11;
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        uint64_t gpa = DIRTY_AT + next_random(&random) % (DIRTY_FRAMES - DEVICE_FRAMES) * PAGE_SIZE;
        uint64_t va = DIRECT + gpa + 8 * (next_random(&random) % 512);
        safepoint_enter(cpu);
        /* One page contains code: stores to it take a different path. */
        if (next_random(&random) % 16 == 0) {
            va = DIRECT + DIRTY_AT + (DIRTY_FRAMES - 1) * PAGE_SIZE + 8 * cpu->index;
            struct insn *volatile insn;
            (void)try_lookup(cpu, CODE_VA + 8 * PAGE_SIZE, &insn);
        }
        for (unsigned j = 0; j < 4; j++) {
            uint64_t *hit = tlb_write(cpu, va, 8);
            if (hit)
                __atomic_store_n(hit, random + j, __ATOMIC_RELAXED);
            else if (try_locked_add(cpu, va) != 0)
                __atomic_store_n(&bad, 7, __ATOMIC_RELAXED);
            between(cpu);
        }
        safepoint_exit(cpu);
    }
    return NULL;
}

static void *receive_pages(void *of)
{
    (void)of;
    uint64_t random = 5;
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        uint64_t frame = DIRTY_FRAMES - 2 - next_random(&random) % (DEVICE_FRAMES - 1);
        uint64_t gpa = DIRTY_AT + frame * PAGE_SIZE + 8;
        __atomic_store_n(fake_word(&fake, gpa), random, __ATOMIC_RELAXED);
        engine_memory_written(&fake.engine, gpa, 8);
    }
    return NULL;
}

/* Copies the changed pages. Returns their number. */
static unsigned copy_dirty(uint8_t *copy)
{
    uint64_t bitmap[DIRTY_FRAMES / 64] = {0};
    unsigned pages = 0;
    engine_take_dirty(&fake.engine, DIRTY_AT, DIRTY_FRAMES, bitmap);
    for (unsigned i = 0; i < DIRTY_FRAMES; i++)
        if (bitmap[i / 64] >> i % 64 & 1) {
            const uint64_t *from = fake_word(&fake, DIRTY_AT + i * PAGE_SIZE);
            uint64_t *to = (uint64_t *)(copy + i * PAGE_SIZE);
            for (unsigned j = 0; j < PAGE_SIZE / 8; j++)
                to[j] = __atomic_load_n(&from[j], __ATOMIC_RELAXED);
            pages++;
        }
    return pages;
}

static void test_dirty_bitmap(void)
{
    start(2);
    uint64_t code = DIRTY_AT + (DIRTY_FRAMES - 1) * PAGE_SIZE;
    fake_map(&fake, FAKE_ROOT, CODE_VA + 8 * PAGE_SIZE, code | P | G);
    uint8_t *copy = calloc(DIRTY_FRAMES, PAGE_SIZE);
    pthread_t threads[3];
    pthread_create(&threads[0], NULL, write_pages, &fake.cpus[0]);
    pthread_create(&threads[1], NULL, write_pages, &fake.cpus[1]);
    pthread_create(&threads[2], NULL, receive_pages, NULL);
    unsigned pages = 0;
    for (unsigned i = 0; i < DIRTY_ROUNDS || pages == 0; i++) {
        pages += copy_dirty(copy);
        sched_yield();
    }
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    copy_dirty(copy);
    CHECK(bad == 0 && pages > 0);
    CHECK(memcmp(copy, fake_ram(&fake, DIRTY_AT), DIRTY_FRAMES * PAGE_SIZE) == 0);
    CHECK(copy_dirty(copy) == 0);
    free(copy);
    fake_free(&fake);
}

int main(void)
{
    test_locked_operations_are_atomic();
    test_code_that_others_change();
    test_tables_that_vcpus_change();
    test_tables_that_all_change();
    test_dirty_bitmap();
    return check_finish();
}
