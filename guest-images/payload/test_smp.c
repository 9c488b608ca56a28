/* Application processors by INIT-SIPI-SIPI. */
#include "cmdline.h"
#include "cpu.h"
#include "heap.h"
#include "interrupts.h"
#include "lapic.h"
#include "layout.h"
#include "string.h"
#include "test.h"
#include "timing.h"

#define LAPIC_ICR_LOW 0x300
#define ICR_ALL_BUT_SELF 0xc0000
#define ICR_ASSERT 0x4000
#define ICR_INIT 0x500
#define ICR_STARTUP 0x600

/* The waits of the MP specification, B.4, for a TSC of up to 5 GHz. */
#define INIT_CYCLES 50000000
#define SETTLE_CYCLES 1000000
#define ADDS_PER_CPU 1000000

extern const char ap_trampoline[], ap_trampoline_end[];
extern volatile uint32_t next_cpu;

struct task_state_segment {
    uint32_t reserved;
    uint64_t rsp0;
    uint8_t rest[TSS_SIZE - 12];
} __attribute__((packed));

extern struct task_state_segment task_state_segments[CPUS_MAX];

/* Read by the trampoline. */
void *ap_cpl3_stacks[CPUS_MAX];

static volatile uint32_t apic_ids[CPUS_MAX];
static uint32_t arrived, started, finished, sum;

/* Every CPU adds to one sum at the same time: lost updates show. */
static void sum_add(void)
{
    for (unsigned i = 0; i < ADDS_PER_CPU; i++)
        __atomic_fetch_add(&sum, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

/* Where the trampoline ends, at CPL 3. */
void ap_main(uint64_t cpu)
{
    apic_ids[cpu] = lapic_id();
    __atomic_fetch_add(&arrived, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&started, __ATOMIC_ACQUIRE))
        cpu_relax();
    sum_add();
    cpu_halt();
}

static void stacks_prepare(unsigned cpus)
{
    for (unsigned i = 1; i < cpus; i++) {
        task_state_segments[i].rsp0 = (uintptr_t)heap_take(CPL0_STACK_SIZE, 16) + CPL0_STACK_SIZE;
        ap_cpl3_stacks[i] = (char *)heap_take(CPL3_STACK_SIZE, 16) + CPL3_STACK_SIZE;
    }
}

static void start_all(void)
{
    memcpy((void *)TRAMPOLINE_BASE, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    lapic_write(LAPIC_SPURIOUS, LAPIC_SPURIOUS_ENABLE);
    lapic_write(LAPIC_ICR_LOW, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_INIT);
    delay_cycles(INIT_CYCLES);
    for (unsigned i = 0; i < 2; i++) {
        lapic_write(LAPIC_ICR_LOW,
                    ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_STARTUP | TRAMPOLINE_BASE >> 12);
        delay_cycles(SETTLE_CYCLES);
    }
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
    /* For all that there could be: a CPU too many must not run without a stack. */
    stacks_prepare(CPUS_MAX);
    apic_ids[0] = lapic_id();
    start_all();
    wait_for(&arrived, cpus - 1);
    delay_cycles(INIT_CYCLES);
    REQUIRE(arrived == cpus - 1 && next_cpu == cpus, "%u of %u CPUs came", arrived + 1, cpus);
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
