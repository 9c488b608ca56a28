/* Application processors by INIT-SIPI-SIPI. */
#include "smp.h"

#include "heap.h"
#include "interrupts.h"
#include "lapic.h"
#include "layout.h"
#include "string.h"
#include "timing.h"

#define LAPIC_ICR_LOW 0x300
#define ICR_ALL_BUT_SELF 0xc0000
#define ICR_ASSERT 0x4000
#define ICR_INIT 0x500
#define ICR_STARTUP 0x600

#define SETTLE_CYCLES 1000000

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

static uint32_t arrived;
static void (*volatile ap_work)(uint64_t cpu);

/* Where the trampoline ends, at CPL 3. */
void ap_main(uint64_t cpu)
{
    __atomic_fetch_add(&arrived, 1, __ATOMIC_RELEASE);
    ap_work(cpu);
    cpu_halt();
}

/* For the maximum number of CPUs, so that unexpected ones have a stack too. */
static void stacks_prepare(void)
{
    for (unsigned i = 1; i < CPUS_MAX; i++) {
        task_state_segments[i].rsp0 = (uintptr_t)heap_take(CPL0_STACK_SIZE, 16) + CPL0_STACK_SIZE;
        ap_cpl3_stacks[i] = (char *)heap_take(CPL3_STACK_SIZE, 16) + CPL3_STACK_SIZE;
    }
}

void smp_start(void (*work)(uint64_t cpu))
{
    stacks_prepare();
    ap_work = work;
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

uint32_t smp_arrived(void)
{
    return __atomic_load_n(&arrived, __ATOMIC_ACQUIRE);
}
