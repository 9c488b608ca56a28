/*
 * Short runs of the engine's code at CPL 0 (private_region.h), with its own page tables, stack and
 * IDT: to take an interrupt, to halt, to make KVM write to a page table. Also the events that
 * arrive at the stubs of that IDT, from these runs and from native runs.
 */
#ifndef TSVM_PVM_ROUTINES_H
#define TSVM_PVM_ROUTINES_H

#include "kvm_run.h"
#include "private_region.h"

/* Events that arrived at stubs, the first of them first: an NMI can follow an interrupt. */
#define ARRIVALS_MAX 4

struct arrivals {
    unsigned count;
    uint8_t vectors[ARRIVALS_MAX];
    /* Of the first: what it interrupted, as the processor pushed it. */
    uint32_t error;
    uint64_t rip;
    uint16_t cs;
    uint64_t rflags;
    uint64_t rsp;
};

/* True when the last exit came from a stub. */
bool arrivals_read(const struct cpu *cpu, struct arrivals *arrivals);

/*
 * `interrupts` is the RFLAGS.IF that it runs with. KVM_ENTERED: the routine ended, or there are
 * arrivals. KVM_INTERRUPTED: HLT ended without an event.
 */
enum kvm_entered routine_run(struct cpu *cpu, enum private_routine routine, bool interrupts,
                             struct arrivals *arrivals);

/*
 * Accesses one of KVM's chips. False: INIT arrived, or KVM failed, which the run loop has to
 * handle.
 */
bool routine_access_port(struct cpu *cpu, uint16_t port, unsigned size, bool is_write,
                         uint32_t *value);
/* Four bytes at `gpa`. */
bool routine_access_memory(struct cpu *cpu, uint64_t gpa, bool is_write, uint32_t *value);

/* Enters KVM once, for the side effects of the entry. */
void routine_touch(struct cpu *cpu);

/*
 * Has KVM write to the page table entries that wait (tables.h). Waits while another vCPU does
 * that. To be called outside (safepoint.h).
 */
enum kvm_entered routine_zap(struct cpu *cpu);

#endif
