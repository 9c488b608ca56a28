/* Page tables as no kernel makes them: the walk ends, and says what the manual says. */
#include "boot_info.h"
#include "cpu.h"
#include "hostile.h"
#include "interrupts.h"
#include "smp.h"
#include "string.h"
#include "timing.h"

#define CANONICAL(va) ((uint64_t)((int64_t)((va) << 16) >> 16))

extern volatile uint64_t page_map_level_4[512];

/* Tables that are their own entries, at each level: loads find the tables themselves. */
static enum verdict loops(void)
{
    const unsigned index = 5;
    uint64_t va = 0;

    page_map_level_4[index] = (uintptr_t)page_map_level_4 | PTE_ALL;
    for (unsigned level = 1; level <= 4; level++)
        va |= (uint64_t)index << (12 + 9 * (level - 1));
    for (unsigned i = 0; i < 512; i += 37) {
        struct attempt result = try_load(CANONICAL(va) + 8 * i);
        REQUIRE(result.vector == NO_EXCEPTION && loaded_word == page_map_level_4[i],
                "entry %u: vector %lu", i, result.vector);
    }
    page_map_level_4[index] = 0;
    write_cr3(read_cr3());
    for (unsigned level = 1; level <= 3; level++) {
        volatile uint64_t *entry = entry_at(EXPERIMENT, level);
        *entry = ((uintptr_t)entry & ~(PAGE_SIZE - 1)) | PTE_ALL | PTE_DIRTY;
        invlpg(EXPERIMENT);
        struct attempt result = try_load(EXPERIMENT);
        REQUIRE(result.vector == NO_EXCEPTION, "level %u: vector %lu", level, result.vector);
        *entry = 0;
        write_cr3(read_cr3());
    }
    return VERDICT_PASSED;
}

/* One frame at many addresses, a table among them: a store by one way is seen by all. */
static enum verdict aliases(void)
{
    enum { ALIASES = 600 };
    uint64_t frame = page_take();

    for (unsigned i = 0; i < ALIASES; i++)
        page_map(EXPERIMENT + i * PAGE_SIZE, frame | PTE_ALL);
    for (unsigned i = 0; i < ALIASES; i++) {
        store_word(EXPERIMENT + i * PAGE_SIZE + 8, i);
        REQUIRE(load_word(EXPERIMENT + (ALIASES - 1 - i) * PAGE_SIZE + 8) == i, "alias %u", i);
    }
    /* The table through a page of its own. */
    uint64_t other = page_take();
    store_word(other, 1);
    store_word(frame, 2);
    volatile uint64_t *entry = page_map(EXPERIMENT, frame | PTE_ALL);
    uint64_t alias = EXPERIMENT + (1ull << 30);
    page_map(alias, ((uintptr_t)entry & ~(PAGE_SIZE - 1)) | PTE_ALL);
    for (unsigned i = 0; i < 50; i++) {
        store_word(alias + ((uintptr_t)entry & (PAGE_SIZE - 1)), (i & 1 ? other : frame) | PTE_ALL);
        invlpg(EXPERIMENT);
        REQUIRE(load_word(EXPERIMENT) == (i & 1 ? 1 : 2), "through the table's alias, round %u", i);
    }
    return VERDICT_PASSED;
}

/* Tables where there is no memory, or that have reserved bits. */
static enum verdict nowhere(void)
{
    static const uint64_t places[] = {DEVICE_GPA, HOLE_GPA, 0xfffff000, 1ull << 39, PTE_ADDRESS};

    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        for (unsigned level = 2; level <= 4; level++) {
            uint64_t va = EXPERIMENT + ((uint64_t)level << 21);
            volatile uint64_t *entry = entry_at(va, level);
            uint64_t before = *entry;
            *entry = (places[i] & PTE_ADDRESS) | PTE_ALL;
            write_cr3(read_cr3());
            struct attempt result = try_load(va);
            REQUIRE(result.vector == NO_EXCEPTION || result.vector == VECTOR_PF,
                    "level %u at %p: vector %lu", level, (void *)places[i], result.vector);
            *entry = before;
            write_cr3(read_cr3());
        }
    }
    /* A large page where the size bit is reserved; address bits beyond the processor's. */
    volatile uint64_t *top = entry_at(EXPERIMENT, 4);
    uint64_t before = *top;
    *top |= PTE_LARGE;
    write_cr3(read_cr3());
    struct attempt result = try_load(EXPERIMENT);
    *top = before;
    write_cr3(read_cr3());
    REQUIRE(result.vector == VECTOR_PF && result.error_code & PF_RESERVED,
            "size bit in the top table: vector %lu error %lx", result.vector, result.error_code);
    page_map(EXPERIMENT, 1ull << 51 | PTE_ALL);
    result = try_load(EXPERIMENT);
    REQUIRE(result.vector == VECTOR_PF && result.error_code & PF_RESERVED,
            "bit 51: vector %lu error %lx", result.vector, result.error_code);
    return VERDICT_PASSED;
}

/* What faults, with which error code and address; accessed and dirty bits. */
static enum verdict rights(void)
{
    uint64_t frame = page_take();
    volatile uint64_t *entry = page_map(EXPERIMENT, frame | PTE_PRESENT | PTE_WRITABLE);

    REQUIRE(try_load(EXPERIMENT + 5).vector == NO_EXCEPTION, "a load");
    REQUIRE((*entry & (PTE_ACCESSED | PTE_DIRTY)) == PTE_ACCESSED, "entry %lx", *entry);
    REQUIRE(try_store(EXPERIMENT, 1).vector == NO_EXCEPTION, "a store");
    REQUIRE(*entry & PTE_DIRTY, "entry %lx", *entry);
    page_map(EXPERIMENT, frame | PTE_PRESENT);
    struct attempt result = try_store(EXPERIMENT + 16, 1);
    REQUIRE(result.vector == VECTOR_PF && result.error_code == (PF_PRESENT | PF_WRITE) &&
                result.cr2 == EXPERIMENT + 16,
            "read-only: vector %lu error %lx cr2 %p", result.vector, result.error_code,
            (void *)result.cr2);
    page_map(EXPERIMENT, 0);
    result = try_load(EXPERIMENT + 24);
    REQUIRE(result.vector == VECTOR_PF && result.error_code == 0 && result.cr2 == EXPERIMENT + 24,
            "absent: vector %lu error %lx", result.vector, result.error_code);
    /* Over the end of a page: the second is absent, and nothing is stored. */
    page_map(EXPERIMENT, frame | PTE_ALL);
    store_word(EXPERIMENT + PAGE_SIZE - 8, 7);
    result = try_store(EXPERIMENT + PAGE_SIZE - 4, ~0ull);
    REQUIRE(result.vector == VECTOR_PF && result.cr2 == EXPERIMENT + PAGE_SIZE &&
                load_word(EXPERIMENT + PAGE_SIZE - 8) == 7,
            "over two pages: vector %lu cr2 %p", result.vector, (void *)result.cr2);
    /* Not canonical; the last byte of the lower half. */
    REQUIRE(try_load(1ull << 47).vector == VECTOR_GP, "not canonical");
    REQUIRE(try_load((1ull << 47) - 4).vector != NO_EXCEPTION, "half canonical");
    return VERDICT_PASSED;
}

/* ---- tables that CPL 3 may write ---- */

static struct {
    volatile uint64_t *entry;
    uint64_t value;
    uint64_t va;
    uint64_t spin;
    volatile uint64_t result;
} order;
static uint8_t user_stack[4096] __attribute__((aligned(16)));

static void user_body(void)
{
    for (volatile uint64_t i = 0; i < order.spin; i++)
        ;
    *order.entry = order.value;
    __asm__ volatile("ud2");
}

static void user_read(void)
{
    for (volatile uint64_t i = 0; i < order.spin; i++)
        ;
    order.result = *(volatile uint64_t *)order.va;
    __asm__ volatile("ud2");
}

static struct attempt as_user(void (*body)(void))
{
    return attempt_cpl3((uintptr_t)body, (uintptr_t)user_stack + sizeof user_stack - 8, 0);
}

/*
 * A program that maps its own pages. What it stores where KVM shadows the table counts at once or
 * later: kvm-pvm is not told of INVLPG. It never reads what was not mapped there.
 */
static enum verdict user_writable(void)
{
    uint64_t frames[2] = {page_take(), page_take()};
    unsigned late = 0;

    store_word(frames[0], 100);
    store_word(frames[1], 101);
    order.va = EXPERIMENT;
    order.entry = page_map(EXPERIMENT, frames[0] | PTE_ALL);
    for (unsigned i = 0; i < 200; i++) {
        bool absent = i % 5 == 4;
        order.spin = i & 2 ? 5000 : 1;
        order.value = absent ? 0 : frames[i & 1] | PTE_ALL;
        struct attempt result = as_user(user_body);
        REQUIRE(result.vector == VECTOR_UD && result.cpl == 3, "store: vector %lu", result.vector);
        REQUIRE((*order.entry & PTE_ADDRESS) == (order.value & PTE_ADDRESS), "the store is lost");
        invlpg(EXPERIMENT);
        order.result = 0;
        result = as_user(user_read);
        bool faulted = result.vector == VECTOR_PF && result.error_code == PF_USER;
        bool read = result.vector == VECTOR_UD && (order.result == 100 || order.result == 101);
        REQUIRE(faulted || read, "round %u: vector %lu error %lx, read %lu", i, result.vector,
                result.error_code, order.result);
        late += absent ? read : faulted || order.result != 100 + (i & 1);
    }
    return test_passed("late=%u", late);
}

/* ---- tables that another CPU changes during walks ---- */

static volatile uint64_t *raced_entry;
static uint64_t raced_values[4];
static volatile uint32_t racing, racer_ready;

static void race(uint64_t unused, struct interrupt_frame *frame)
{
    (void)unused;
    (void)frame;
    racer_ready = 1;
    while (!racing)
        cpu_relax();
    for (unsigned i = 0; racing; i++)
        *raced_entry = raced_values[i & 3];
    cpl0_rest();
}

/* At CPL 0 before attempts begin: they change what an exception does, on all CPUs. */
static void race_work(uint64_t cpu)
{
    if (cpu == 1)
        cpl0_call(race, 0);
}

static enum verdict walks_race(void)
{
    unsigned faults = 0;
    uint64_t frames[2] = {page_take(), page_take()};

    store_word(frames[0], 100);
    store_word(frames[1], 101);
    raced_entry = page_map(EXPERIMENT, frames[0] | PTE_ALL);
    raced_values[0] = frames[0] | PTE_ALL;
    raced_values[1] = 0;
    raced_values[2] = frames[1] | PTE_ALL;
    raced_values[3] = DEVICE_GPA | PTE_PRESENT;
    racing = 1;
    for (unsigned i = 0; i < 5000; i++) {
        invlpg(EXPERIMENT);
        struct attempt result = i & 1 ? try_store(EXPERIMENT + 8, i) : try_load(EXPERIMENT);
        faults += result.vector != NO_EXCEPTION;
        REQUIRE(result.vector == NO_EXCEPTION || result.vector == VECTOR_PF, "vector %lu",
                result.vector);
    }
    racing = 0;
    return test_passed("faults=%u", faults);
}

static enum verdict test_loops(void)
{
    return run_at_cpl0(loops);
}
static enum verdict test_aliases(void)
{
    return run_at_cpl0(aliases);
}
static enum verdict test_nowhere(void)
{
    return run_at_cpl0(nowhere);
}
static enum verdict test_rights(void)
{
    return run_at_cpl0(rights);
}
static enum verdict test_user_writable(void)
{
    return run_at_cpl0(user_writable);
}
static enum verdict test_race(void)
{
    smp_start(race_work);
    for (uint64_t start = rdtsc(); !racer_ready && !timed_out(start);)
        cpu_relax();
    REQUIRE(racer_ready, "there is no second CPU");
    return run_at_cpl0(walks_race);
}

static const struct test tests[] = {
    {"cpl0-tables-loop", test_loops},         {"cpl0-tables-alias", test_aliases},
    {"cpl0-tables-nowhere", test_nowhere},    {"cpl0-tables-rights", test_rights},
    {"cpl0-tables-user", test_user_writable}, {"race-tables", test_race},
};

const struct test_suite test_suite_cpl0_tables = TEST_SUITE(tests);
