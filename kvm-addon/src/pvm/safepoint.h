/*
 * How vCPU threads change each other's TLBs and code caches without a lock on the way of an
 * instruction. A thread is *inside* while it uses its own TLB and code cache, else *outside* (in
 * KVM_RUN, parked, waiting). Whoever changes what others may have cached posts a request; an inside
 * thread serves it when it next leaves the interpreter, an outside one before it goes inside.
 */
#ifndef TSVM_PVM_SAFEPOINT_H
#define TSVM_PVM_SAFEPOINT_H

#include "cpu.h"

/* Requests that wait for one vCPU; more become one to drop everything. */
#define SAFEPOINT_REQUESTS_MAX 64

/* Outside, with nothing posted. Return 0 or -ENOMEM. */
int safepoint_init(struct cpu *cpu);
void safepoint_destroy(struct cpu *cpu);

/* Around everything that may take long or does not use the caches. Cheap: two atomic stores. */
void safepoint_enter(struct cpu *cpu); /* inside; takes what was posted meanwhile */
void safepoint_exit(struct cpu *cpu);  /* outside */
/* Inside: takes posted requests. For the run loop, on ATTENTION_REQUESTS. */
void safepoint_serve(struct cpu *cpu);

/*
 * Makes all vCPUs drop TLB write entries of a frame that was just marked as code or table, and
 * waits until none can use one; serves own requests meanwhile. Afterwards each write to the frame
 * takes the slow path. Inside, and never with a lock held.
 */
void safepoint_protect_frame(struct cpu *cpu, uint64_t frame);
/*
 * Drops this CPU's decoded code of a frame, and posts the same to the others; no wait. From any
 * thread (`cpu` NULL: not a vCPU's).
 */
void safepoint_invalidate_code(struct engine *engine, struct cpu *cpu, uint64_t frame);
/* Makes all vCPUs drop all TLB write entries, and waits for it. Not from a vCPU's thread. */
void safepoint_drop_writes(struct engine *engine);

#endif
