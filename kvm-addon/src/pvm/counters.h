/* A vCPU's counters, summed up for metrics. Written only by its thread, read at any time. */
#ifndef TSVM_PVM_COUNTERS_H
#define TSVM_PVM_COUNTERS_H

#include <stdint.h>

struct cpu_counters {
    uint64_t interpreted[2]; /* instructions, [cpl == 3] */
    uint64_t decoded;        /* instructions decoded */
    uint64_t code_flushes;   /* the code cache was full */
    uint64_t code_invalidations;
    uint64_t translations;
    uint64_t translated; /* instructions in them */
    uint64_t walks;
    uint64_t table_writes; /* writes to tracked page tables */
    uint64_t zapped_entries;
    uint64_t zapped_tables;
    uint64_t zapped_all; /* all shadow page tables at once */
    uint64_t native_runs;
    uint64_t native_syscalls;
    uint64_t native_faults;
    uint64_t interrupts;
    uint64_t interrupt_polls;
    uint64_t interrupts_held; /* by moderation.h */
    uint64_t halts;
    uint64_t exceptions[32];
    uint64_t steps;
    uint64_t legacy_steps;         /* before long mode */
    uint64_t chip_accesses;        /* to KVM's interrupt controllers and timer */
    uint64_t steps_by_opcode[512]; /* one-byte opcodes, then those of map 0F */
    uint64_t simd;                 /* vector and x87 instructions executed here */
    uint64_t fpu_failures;         /* failed transfers of FPU state from or to KVM */
    uint64_t frame_protections;    /* other vCPUs were asked to drop write entries */
};

#endif
