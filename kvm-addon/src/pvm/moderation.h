/*
 * Interrupt moderation for devices that serve a vCPU's kick on its own thread (doorbell.h). To take
 * an interrupt costs as much as thousands of instructions. A driver that has several requests under
 * way gets one after each kick, while it could go on to submit the next. So the interrupt of a kick
 * is held for a while: until the vCPU has nothing else to do, runs natively, or has kicked several
 * times, or not for long.
 *
 * A driver that waits for each request only loses by that: it goes to sleep, where an interrupt at
 * once would have found it awake. Whether there are further kicks while one is held shows which it
 * is, and if there are none, the next ones are not held. Now and then it is tried again.
 */
#ifndef TSVM_PVM_MODERATION_H
#define TSVM_PVM_MODERATION_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct engine;

/* Of a vCPU; owned by its thread. */
struct moderation {
    bool holds;         /* an interrupt */
    uint32_t gsi;       /* of it */
    uint32_t kicks;     /* since then */
    uint64_t until;     /* TSC */
    uint32_t pass;      /* interrupts to be raised at once before one is held again */
    uint32_t next_pass; /* `pass` after the next that was held in vain */
};

/* Around a kick by the vCPU, on its thread. */
void moderation_begin_kick(struct cpu *cpu);
void moderation_end_kick(struct cpu *cpu);

/* Whether the interrupt is held and not to be raised. From any thread. */
bool moderation_holds(struct engine *engine, uint32_t gsi);

/* Raises what is held. */
void moderation_release(struct cpu *cpu);
/* The same if its time is over. */
void moderation_check_clock(struct cpu *cpu, uint64_t tsc);

#endif
