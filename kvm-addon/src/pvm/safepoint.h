/*
 * How vCPU threads change each other's TLBs and code caches without a lock on the way of an
 * instruction. A thread is *inside* while it uses its own TLB and code cache, else *outside* (in
 * KVM_RUN, parked, waiting). Whoever changes what others may have cached posts a request; an
 * inside thread takes it when it next leaves the interpreter, an outside one before it comes in.
 */
#ifndef TSVM_PVM_SAFEPOINT_H
#define TSVM_PVM_SAFEPOINT_H

#include "cpu.h"

/* Around everything that may take long or does not use the caches. Cheap: two atomic stores. */
void safepoint_enter(struct cpu *cpu); /* inside; takes what was posted meanwhile */
void safepoint_exit(struct cpu *cpu);  /* outside */
/* Inside: takes posted requests. For the run loop, on ATTENTION_REQUESTS. */
void safepoint_serve(struct cpu *cpu);

/*
 * Makes all other vCPUs drop TLB write entries of a frame, and waits until they have; serves own
 * requests meanwhile. Afterwards each write to the frame takes the slow path.
 */
void safepoint_protect_frame(struct cpu *cpu, uint64_t frame);
/* Posts that decoded code of a frame is stale, from any thread (`cpu` NULL: not a vCPU's); no wait.
 */
void safepoint_invalidate_code(struct engine *engine, struct cpu *cpu, uint64_t frame);

#endif
