/*
 * Entering KVM: registers through the page that it shares with the vCPU (KVM_CAP_SYNC_REGS; an
 * ioctl costs some microseconds, the page nothing), and KVM_RUN itself.
 */
#ifndef TSVM_PVM_KVM_RUN_H
#define TSVM_PVM_KVM_RUN_H

#include "cpu.h"

/* State that KVM_RUN synchronizes with the shared page. */
#define KVM_RUN_SYNC (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

static inline struct kvm_regs *kvm_run_regs(const struct cpu *cpu)
{
    return &cpu->run->s.regs.regs;
}

static inline struct kvm_sregs *kvm_run_sregs(const struct cpu *cpu)
{
    return &cpu->run->s.regs.sregs;
}

/* General registers, RIP and RFLAGS, from the vCPU into the page and back. */
void kvm_run_put_registers(struct cpu *cpu);
void kvm_run_get_registers(struct cpu *cpu);
/* Without RIP and RFLAGS. */
void kvm_run_get_general(struct cpu *cpu);

/*
 * The guest's own segments, descriptor tables and control registers into the page. What KVM alone
 * knows (APIC base, CR8) stays; CR4 loses what kvm-pvm may not accept and nothing here relies on;
 * so does EFER. Its SCE is clear, so that KVM's emulator never executes a SYSCALL of the guest
 * (with 32-bit targets it would run CPL 3's code at CPL 0).
 */
void kvm_run_put_sregs(struct cpu *cpu);
/* What one instruction, or the delivery of an event, can have changed of them. */
void kvm_run_get_sregs(struct cpu *cpu);

/* The VMM's descriptor tables and TSS instead, for runs with the VMM's page tables. */
void kvm_run_set_private_tables(struct kvm_sregs *sregs, unsigned cpu);
/* Whether NMIs are blocked, and whether the next instruction is in the shadow of STI or MOV SS. */
void kvm_run_put_events(struct cpu *cpu);

enum kvm_entered {
    KVM_ENTERED,     /* cpu->run->exit_reason is the reason of the exit */
    KVM_INTERRUPTED, /* by a signal, or never entered: attention is needed */
    KVM_RESET,       /* INIT came: KVM has the state now (cpu->in_kvm) */
    KVM_REFUSED,     /* see vcpu->failure */
};

enum kvm_enter {
    KVM_ENTER_GUEST,
    KVM_ENTER_AT_ONCE,  /* even if attention is needed: the routine ends by itself */
    KVM_ENTER_COMPLETE, /* only lets KVM finish the instruction of an exit for I/O */
};

/* KVM_RUN. KVM_ENTER_COMPLETE returns KVM_INTERRUPTED on success. */
enum kvm_entered kvm_run_enter(struct cpu *cpu, enum kvm_enter how);

/* KVM_GUESTDBG_SINGLESTEP on or off. */
void kvm_run_set_stepping(struct cpu *cpu, bool on);

/* Formats the message in vcpu->failure. */
void kvm_run_fail(struct cpu *cpu, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
