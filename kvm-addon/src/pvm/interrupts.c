#include "interrupts.h"

#include <string.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "arch.h"
#include "engine.h"
#include "kvm_run.h"

#define NEVER UINT64_MAX

#define LVT_MASKED (1u << 16)
#define LVT_MODE (3u << 17)
#define LVT_PERIODIC (1u << 17)
#define LVT_DEADLINE (2u << 17)

#define ICR_MODE(value) ((value) >> 8 & 7)
#define ICR_MODE_NMI 4u
#define ICR_MODE_INIT 5u
#define ICR_LOGICAL (1u << 11)
#define ICR_SHORTHAND(value) ((value) >> 18 & 3)
#define SHORTHAND_SELF 1u
#define SHORTHAND_ALL_BUT_SELF 3u
#define BROADCAST 0xffu

/* KVM's local APIC counts nanoseconds (KVM_CAP_X86_APIC_BUS_CYCLES_NS). */
#define TIMER_HZ 1000000000ull
#define LOOKS_PER_SECOND 1000
#define TSC_KHZ_GUESS 2000000

static uint64_t tsc_khz(const struct cpu *cpu)
{
    int khz = ioctl(cpu->fd, KVM_GET_TSC_KHZ, 0);
    return khz > 0 ? (uint64_t)khz : TSC_KHZ_GUESS;
}

void interrupts_init(struct cpu *cpu)
{
    *cpu->interrupts = (struct cpu_interrupts){
        .look_period = tsc_khz(cpu) * 1000 / LOOKS_PER_SECOND,
        .expires = NEVER,
        .lvt_timer = LVT_MASKED,
    };
}

void interrupts_restored(struct cpu *cpu, const struct kvm_lapic_state *lapic)
{
    struct cpu_interrupts *interrupts = cpu->interrupts;

    memcpy(&interrupts->lvt_timer, lapic->regs + LAPIC_LVT_TIMER, sizeof interrupts->lvt_timer);
    memcpy(&interrupts->divide, lapic->regs + LAPIC_TIMER_DIVIDE, sizeof interrupts->divide);
    interrupts->expires = 0;
    interrupts->in_service = 0;
    interrupts_raise(cpu);
}

void interrupts_raise(struct cpu *cpu)
{
    __atomic_fetch_add(&cpu->interrupts->raised, 1, __ATOMIC_SEQ_CST);
    cpu_attract(cpu, ATTENTION_INTERRUPT);
}

void interrupts_raise_all(struct engine *engine)
{
    for (unsigned i = 0; i < engine->cpu_count; i++)
        interrupts_raise(engine->cpus[i]);
}

void interrupts_pulse(struct engine *engine, uint32_t gsi)
{
    struct kvm_irq_level line = {.irq = gsi, .level = 1};

    /*
     * KVM ignores a rise of a line that is high. If a thread lost its core between its two calls,
     * the guest could have handled that interrupt already, and never learned of another thread's.
     */
    pthread_mutex_lock(&engine->pulse);
    ioctl(engine->vm_fd, KVM_IRQ_LINE, &line);
    line.level = 0;
    ioctl(engine->vm_fd, KVM_IRQ_LINE, &line);
    pthread_mutex_unlock(&engine->pulse);
    interrupts_raise_all(engine);
}

static uint32_t raised(const struct cpu *cpu)
{
    return __atomic_load_n(&cpu->interrupts->raised, __ATOMIC_SEQ_CST);
}

bool interrupts_wait(const struct cpu *cpu)
{
    return raised(cpu) != cpu->interrupts->answered;
}

void interrupts_taken(struct cpu *cpu, int vector, uint32_t raised_before)
{
    struct cpu_interrupts *interrupts = cpu->interrupts;

    interrupts->next_look = __rdtsc() + interrupts->look_period;
    if (vector >= VECTOR_FIRST_INTERRUPT) {
        interrupts->in_service++;
        /* An interrupt that was not announced answers none of the reasons. */
        if (interrupts_wait(cpu))
            interrupts->answered++;
    } else if (interrupts->in_service == 0) {
        interrupts->answered = raised_before;
    }
    /*
     * Otherwise it may have a lower priority than the one in service: the vCPU checks again at its
     * EOI.
     */
}

static void ended(struct cpu *cpu)
{
    struct cpu_interrupts *interrupts = cpu->interrupts;

    if (interrupts->in_service > 0)
        interrupts->in_service--;
    if (interrupts_wait(cpu))
        cpu_attract(cpu, ATTENTION_INTERRUPT);
}

/* The timer of one-shot and periodic mode. */
static void start_timer(struct cpu *cpu, uint32_t count)
{
    struct cpu_interrupts *interrupts = cpu->interrupts;
    uint32_t mode = interrupts->lvt_timer & LVT_MODE;
    unsigned shift = ((interrupts->divide & 3) | (interrupts->divide >> 1 & 4)) + 1;
    uint64_t ticks = (uint64_t)count << (shift & 7);
    uint64_t cycles = ticks * interrupts->look_period / (TIMER_HZ / LOOKS_PER_SECOND);

    if (mode == LVT_DEADLINE)
        return;
    interrupts->expires = count ? __rdtsc() + cycles : NEVER;
    interrupts->period = mode == LVT_PERIODIC ? cycles : 0;
}

void interrupts_lapic_writing(struct cpu *cpu, uint32_t offset, uint64_t value)
{
    struct cpu_interrupts *interrupts = cpu->interrupts;

    switch (offset) {
    case LAPIC_LVT_TIMER:
        if ((interrupts->lvt_timer ^ value) & LVT_MODE)
            interrupts->expires = NEVER;
        interrupts->lvt_timer = (uint32_t)value;
        return;
    case LAPIC_TIMER_DIVIDE:
        interrupts->divide = (uint32_t)value;
        return;
    case LAPIC_TIMER_INITIAL_COUNT:
        start_timer(cpu, (uint32_t)value);
        return;
    case LAPIC_ICR_HIGH:
        interrupts->icr_high = (uint32_t)value;
        return;
    default:
        return;
    }
}

static void send(struct cpu *target, uint32_t mode)
{
    if (mode == ICR_MODE_NMI)
        __atomic_store_n(&target->interrupts->nmi_raised, true, __ATOMIC_SEQ_CST);
    if (mode == ICR_MODE_INIT)
        engine_kick(target, ATTENTION_RESET);
    else
        interrupts_raise(target);
}

/* Whether `other` may be a target of an interrupt command: all such vCPUs check. */
static bool is_target(const struct cpu *cpu, const struct cpu *other, uint32_t command,
                      uint32_t destination)
{
    switch (ICR_SHORTHAND(command)) {
    case SHORTHAND_SELF:
        return other == cpu;
    case SHORTHAND_ALL_BUT_SELF:
        return other != cpu;
    case 0:
        return command & ICR_LOGICAL || destination >= BROADCAST || other->index == destination;
    default:
        return true;
    }
}

void interrupts_lapic_written(struct cpu *cpu, uint32_t offset, uint64_t value, bool is_x2apic)
{
    struct engine *engine = cpu->engine;

    switch (offset) {
    case LAPIC_EOI:
        ended(cpu);
        return;
    case LAPIC_SELF_IPI:
        interrupts_raise(cpu);
        return;
    case LAPIC_TPR:
        if (interrupts_wait(cpu))
            cpu_attract(cpu, ATTENTION_INTERRUPT);
        return;
    case LAPIC_ICR_LOW:
        for (unsigned i = 0; i < engine->cpu_count; i++) {
            uint32_t destination =
                is_x2apic ? (uint32_t)(value >> 32) : cpu->interrupts->icr_high >> 24;
            if (is_target(cpu, engine->cpus[i], (uint32_t)value, destination))
                send(engine->cpus[i], ICR_MODE((uint32_t)value));
        }
        return;
    default:
        return;
    }
}

void interrupts_deadline_written(struct cpu *cpu, uint64_t deadline)
{
    struct cpu_interrupts *interrupts = cpu->interrupts;

    if ((interrupts->lvt_timer & LVT_MODE) != LVT_DEADLINE)
        return;
    interrupts->expires = deadline ? deadline : NEVER;
    interrupts->period = 0;
}

void interrupts_set_tpr(struct cpu *cpu, uint64_t value)
{
    kvm_run_sregs(cpu)->cr8 = value;
    if (interrupts_wait(cpu))
        cpu_attract(cpu, ATTENTION_INTERRUPT);
}

void interrupts_check_clock(struct cpu *cpu)
{
    struct cpu_interrupts *interrupts = cpu->interrupts;
    uint64_t now = __rdtsc();

    if (now >= interrupts->expires) {
        interrupts->expires = interrupts->period ? now + interrupts->period : NEVER;
        interrupts_raise(cpu);
    } else if (now >= interrupts->next_look) {
        interrupts->next_look = now + interrupts->look_period;
        interrupts_raise(cpu);
    }
}
