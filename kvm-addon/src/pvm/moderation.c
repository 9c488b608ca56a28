#include "moderation.h"

#include <x86intrin.h>

#include "counters.h"
#include "engine.h"
#include "interrupts.h"

/* Kicks for one interrupt. */
#define KICKS_MAX 16u
/* Between two kicks, as a fraction of a millisecond: longer than drivers need for a request. */
#define WAIT_PER_LOOK 8
#define PASS_MIN 8u
#define PASS_MAX 1024u

/* The vCPU whose kick this thread serves. */
static _Thread_local struct cpu *kicking;

void moderation_begin_kick(struct cpu *cpu)
{
    kicking = cpu;
    if (cpu->moderation->holds)
        cpu->moderation->kicks++;
}

void moderation_end_kick(struct cpu *cpu)
{
    struct moderation *moderation = cpu->moderation;

    kicking = NULL;
    if (!moderation->holds)
        return;
    moderation->until = __rdtsc() + cpu->interrupts->look_period / WAIT_PER_LOOK;
    if (moderation->kicks >= KICKS_MAX)
        moderation_release(cpu);
}

bool moderation_holds(struct engine *engine, uint32_t gsi)
{
    struct cpu *cpu = kicking;

    if (!cpu || cpu->engine != engine)
        return false;
    struct moderation *moderation = cpu->moderation;
    if (moderation->holds)
        return moderation->gsi == gsi;
    if (moderation->pass > 0) {
        moderation->pass--;
        return false;
    }
    moderation->holds = true;
    moderation->gsi = gsi;
    moderation->kicks = 0;
    cpu->counters->interrupts_held++;
    return true;
}

void moderation_release(struct cpu *cpu)
{
    struct moderation *moderation = cpu->moderation;

    if (!moderation->holds)
        return;
    moderation->holds = false;
    if (moderation->kicks > 0 || moderation->next_pass == 0) {
        moderation->next_pass = PASS_MIN;
    } else {
        moderation->pass = moderation->next_pass;
        moderation->next_pass *= moderation->next_pass < PASS_MAX ? 2 : 1;
    }
    interrupts_pulse(cpu->engine, moderation->gsi);
}

void moderation_check_clock(struct cpu *cpu, uint64_t tsc)
{
    if (cpu->moderation->holds && tsc >= cpu->moderation->until)
        moderation_release(cpu);
}
