/*
 * Interrupts of an interpreting vCPU. The controllers are KVM's (PIC, IO-APIC, local APICs); to see
 * whether one of them has an interrupt, and to take it, the vCPU enters KVM for an instant, which
 * costs as much as thousands of instructions. So it only does that when there is a reason:
 *
 * - A device, or another vCPU by an IPI, raised an interrupt, which sets cpu->attention.
 * - The local APIC's timer expired: the guest's writes tell when.
 * - An interrupt was raised that the vCPU could not take, and now the reason is gone: RFLAGS.IF was
 *   set, an end of interrupt was written, CR8 was lowered.
 * - It has not been in KVM for a while: for what is raised in KVM alone (the PIT).
 */
#ifndef TSVM_PVM_INTERRUPTS_H
#define TSVM_PVM_INTERRUPTS_H

#include "cpu.h"

/* Offsets of the local APIC's registers; x2APIC has them as MSRs from 0x800 on, 16 bytes to one. */
#define LAPIC_TPR 0x80u
#define LAPIC_EOI 0xb0u
#define LAPIC_ICR_LOW 0x300u
#define LAPIC_ICR_HIGH 0x310u
#define LAPIC_LVT_TIMER 0x320u
#define LAPIC_TIMER_INITIAL_COUNT 0x380u
#define LAPIC_TIMER_DIVIDE 0x3e0u
#define LAPIC_SELF_IPI 0x3f0u

/* Owned by the vCPU's thread but for what is said to be shared. */
struct cpu_interrupts {
    uint32_t raised;      /* atomic, shared: how often a reason to look came up */
    uint32_t answered;    /* of these: an interrupt was taken for it, or there was none */
    uint32_t in_service;  /* taken, and not yet ended */
    bool nmi_raised;      /* atomic, shared */
    uint64_t next_look;   /* TSC */
    uint64_t look_period; /* TSC */
    /* The local APIC's timer. */
    uint64_t expires; /* TSC; NEVER */
    uint64_t period;  /* TSC, when it is periodic, else 0 */
    uint32_t lvt_timer;
    uint32_t divide;
    uint32_t icr_high;
};

void interrupts_init(struct cpu *cpu);
/* The state of the local APIC was set: checks for pending interrupts. */
void interrupts_restored(struct cpu *cpu, const struct kvm_lapic_state *lapic);

/* An interrupt may wait for the vCPU. From any thread. */
void interrupts_raise(struct cpu *cpu);
void interrupts_raise_all(struct engine *engine);
/* One edge of a GSI, in KVM's controllers. From any thread. */
void interrupts_pulse(struct engine *engine, uint32_t gsi);

/* The guest writes a register of its local APIC: before KVM carries it out, and after. */
void interrupts_lapic_writing(struct cpu *cpu, uint32_t offset, uint64_t value);
void interrupts_lapic_written(struct cpu *cpu, uint32_t offset, uint64_t value, bool is_x2apic);
void interrupts_deadline_written(struct cpu *cpu, uint64_t deadline);
void interrupts_set_tpr(struct cpu *cpu, uint64_t value);

/* At the end of a slice: raises what the clock says is due. */
void interrupts_check_clock(struct cpu *cpu);
/* Whether something was raised that has not been answered. */
bool interrupts_wait(const struct cpu *cpu);

/*
 * KVM was entered with interrupts allowed: `vector` was taken (from 32 on), or -1: there was none.
 * `raised` is the counter as it was before.
 */
void interrupts_taken(struct cpu *cpu, int vector, uint32_t raised);

#endif
