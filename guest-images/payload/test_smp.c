/* Application processors: all come, each once, and they add up. */
#include "cmdline.h"
#include "lapic.h"
#include "layout.h"
#include "smp.h"
#include "test.h"
#include "timing.h"

#define ADDS_PER_CPU 1000000

extern volatile uint32_t next_cpu;

static volatile uint32_t apic_ids[CPUS_MAX];
static uint32_t started, finished, sum;

/* Every CPU adds to one sum at the same time: lost updates show. */
static void sum_add(void)
{
    for (unsigned i = 0; i < ADDS_PER_CPU; i++)
        __atomic_fetch_add(&sum, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

static void work(uint64_t cpu)
{
    apic_ids[cpu] = lapic_id();
    while (!__atomic_load_n(&started, __ATOMIC_ACQUIRE))
        cpu_relax();
    sum_add();
}

static bool wait_for(const uint32_t *counter, uint32_t value)
{
    for (uint64_t start = rdtsc(); __atomic_load_n(counter, __ATOMIC_ACQUIRE) < value;) {
        if (timed_out(start))
            return false;
        cpu_relax();
    }
    return true;
}

/* cpus= is the number that must come; no more may. Works once in a boot. */
static enum verdict smp(void)
{
    unsigned cpus = (unsigned)cmdline_number("cpus", 2);
    REQUIRE(cpus >= 1 && cpus <= CPUS_MAX, "cpus= is not in 1..%u", CPUS_MAX);
    apic_ids[0] = lapic_id();
    smp_start(work);
    for (uint64_t start = rdtsc(); smp_arrived() < cpus - 1 && !timed_out(start);)
        cpu_relax();
    delay_cycles(INIT_CYCLES);
    REQUIRE(smp_arrived() == cpus - 1 && next_cpu == cpus, "%u of %u CPUs came", smp_arrived() + 1,
            cpus);
    for (unsigned i = 0; i < cpus; i++)
        for (unsigned j = 0; j < i; j++)
            REQUIRE(apic_ids[i] != apic_ids[j], "two CPUs have the APIC ID %u", apic_ids[i]);
    __atomic_store_n(&started, 1, __ATOMIC_RELEASE);
    sum_add();
    REQUIRE(wait_for(&finished, cpus), "%u of %u CPUs finished", finished, cpus);
    REQUIRE(sum == cpus * ADDS_PER_CPU, "the sum is %u", sum);
    return test_passed("cpus=%u", cpus);
}

static const struct test tests[] = {
    {"smp", smp},
};

const struct test_suite test_suite_smp = TEST_SUITE(tests);
