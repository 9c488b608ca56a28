/*
 * Interrupt moderation for devices that serve a vCPU's kick on its own thread (doorbell.h). Taking
 * an interrupt costs as much as thousands of instructions. A driver that submits several requests
 * would get one after each kick. So the interrupt of a kick is held until the vCPU halts, runs
 * natively, has kicked several times, or has not kicked for some time.
 *
 * A driver that waits for each request only loses by that: it goes to sleep, which an immediate
 * interrupt would have prevented. If no kick follows while an interrupt is held, the next ones are
 * not held; from time to time this is tried again.
 */
#ifndef TSVM_PVM_MODERATION_H
#define TSVM_PVM_MODERATION_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct engine;

/* State of a vCPU, owned by its thread. */
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
