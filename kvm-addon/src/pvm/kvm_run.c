#include "kvm_run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../vcpu/vcpu.h"
#include "arch.h"
#include "cpu_mode.h"
#include "descriptor.h"
#include "loop.h"
#include "private_region.h"

/* KVM's order of general registers against the processor's. */
#define EACH_REGISTER(X)                                                                           \
    X(rax, REG_RAX)                                                                                \
    X(rbx, REG_RBX)                                                                                \
    X(rcx, REG_RCX)                                                                                \
    X(rdx, REG_RDX)                                                                                \
    X(rsi, REG_RSI)                                                                                \
    X(rdi, REG_RDI)                                                                                \
    X(rsp, REG_RSP)                                                                                \
    X(rbp, REG_RBP)                                                                                \
    X(r8, REG_R8)                                                                                  \
    X(r9, REG_R9)                                                                                  \
    X(r10, REG_R10)                                                                                \
    X(r11, REG_R11)                                                                                \
    X(r12, REG_R12)                                                                                \
    X(r13, REG_R13)                                                                                \
    X(r14, REG_R14)                                                                                \
    X(r15, REG_R15)

/*
 * CR4 bits that KVM gets. The interpreter enforces SMEP, SMAP, UMIP and others; they do not apply
 * to CPL 3.
 */
#define CR4_FOR_KVM                                                                                \
    (CR4_PSE | CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_DE)

void kvm_run_put_registers(struct cpu *cpu)
{
    struct kvm_regs *regs = kvm_run_regs(cpu);
#define PUT(name, index) regs->name = cpu->r[index];
    EACH_REGISTER(PUT)
#undef PUT
    regs->rip = cpu->rip;
    regs->rflags = cpu_rflags(cpu);
    cpu->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
}

void kvm_run_get_general(struct cpu *cpu)
{
    const struct kvm_regs *regs = kvm_run_regs(cpu);
#define GET(name, index) cpu->r[index] = regs->name;
    EACH_REGISTER(GET)
#undef GET
}

void kvm_run_get_registers(struct cpu *cpu)
{
    kvm_run_get_general(cpu);
    cpu->rip = kvm_run_regs(cpu)->rip;
    cpu_set_rflags(cpu, kvm_run_regs(cpu)->rflags);
}

void kvm_run_put_sregs(struct cpu *cpu)
{
    struct kvm_sregs *sregs = kvm_run_sregs(cpu);
    uint64_t apic_base = sregs->apic_base;
    uint64_t cr8 = sregs->cr8;

    *sregs = cpu->sregs;
    sregs->apic_base = apic_base;
    sregs->cr8 = cr8;
    sregs->cr4 &= CR4_FOR_KVM;
    sregs->efer &= EFER_LME | EFER_LMA | EFER_NXE;
    sregs->fs.base = cpu->segment_base[BASE_FS];
    sregs->gs.base = cpu->segment_base[BASE_GS];
    memset(sregs->interrupt_bitmap, 0, sizeof sregs->interrupt_bitmap);
    cpu->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
}

void kvm_run_get_sregs(struct cpu *cpu)
{
    const struct kvm_sregs *sregs = kvm_run_sregs(cpu);

    cpu->sregs.cs = sregs->cs;
    cpu->sregs.ss = sregs->ss;
    cpu->sregs.ds = sregs->ds;
    cpu->sregs.es = sregs->es;
    cpu->sregs.fs = sregs->fs;
    cpu->sregs.gs = sregs->gs;
    cpu->sregs.tr = sregs->tr;
    cpu->sregs.ldt = sregs->ldt;
    cpu->sregs.cr2 = sregs->cr2;
    cpu->segment_base[BASE_FS] = sregs->fs.base;
    cpu->segment_base[BASE_GS] = sregs->gs.base;
    cpu->compat = !sregs->cs.l;
    cpu_set_cpl(cpu, sregs->ss.dpl);
}

/*
 * KVM is about to exit: it is delivering an event, or the vCPU is at a stub or, after a SYSCALL, at
 * the shim. Taking the registers now would lose the event.
 */
static bool is_arriving(const struct cpu *cpu)
{
    const struct kvm_vcpu_events *events = &cpu->run->s.regs.events;
    uint64_t rip = kvm_run_regs(cpu)->rip;
    bool at_shim = kvm_run_sregs(cpu)->ss.dpl == 3 && rip == PRIVATE_SHIM_VA;
    bool at_stub = kvm_run_sregs(cpu)->ss.dpl == 0 && private_region_stub_at(rip) >= 0;
    return events->exception.injected || events->exception.pending || events->interrupt.injected ||
           events->nmi.injected || at_stub || at_shim;
}

/* INIT resets the vCPU to real mode, which the engine never runs. */
static bool was_reset(const struct cpu *cpu, uint64_t idt_base)
{
    const struct kvm_sregs *sregs = kvm_run_sregs(cpu);
    return !cpu->in_kvm && (!(sregs->cr0 & CR0_PE) || sregs->idt.base != idt_base);
}

enum kvm_entered kvm_run_enter(struct cpu *cpu, enum kvm_enter how)
{
    uint64_t idt_base = kvm_run_sregs(cpu)->idt.base;
    bool arriving = how == KVM_ENTER_AT_ONCE;

    for (;;) {
        bool complete = how == KVM_ENTER_COMPLETE;
        /*
         * First clear the flag, then check `attention`: engine_kick() writes them in the other
         * order.
         */
        __atomic_store_n(&cpu->run->immediate_exit, complete, __ATOMIC_SEQ_CST);
        bool asked = __atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST) &
                     (ATTENTION_ORDER | ATTENTION_RESET);
        if (asked && !complete && !arriving)
            return KVM_INTERRUPTED;
        int result = ioctl(cpu->fd, KVM_RUN, 0);
        int error = errno;
        cpu->vcpu->counters.exits++;
        if (was_reset(cpu, idt_base)) {
            cpu->in_kvm = true;
            return KVM_RESET;
        }
        if (result >= 0 && cpu->run->exit_reason != KVM_EXIT_INTR)
            return KVM_ENTERED;
        if (result < 0 && error != EINTR && error != EAGAIN) {
            kvm_run_fail(cpu, "KVM_RUN: %s", strerrordesc_np(error));
            return KVM_REFUSED;
        }
        cpu->vcpu->counters.interrupted++;
        arriving = how == KVM_ENTER_AT_ONCE || (!cpu->in_kvm && is_arriving(cpu));
        if (!arriving || complete)
            return KVM_INTERRUPTED;
    }
}

void kvm_run_set_private_tables(struct kvm_sregs *sregs, unsigned cpu)
{
    sregs->idt.base = PRIVATE_IDT_VA;
    sregs->idt.limit = PRIVATE_IDT_LIMIT;
    sregs->gdt.base = PRIVATE_GDT_VA;
    sregs->gdt.limit = PRIVATE_GDT_LIMIT;
    sregs->tr = (struct kvm_segment){
        .base = private_region_tss(cpu),
        .limit = PRIVATE_TSS_LIMIT,
        .selector = PRIVATE_TSS_SELECTOR,
        .type = TYPE_TSS_BUSY,
        .present = 1,
    };
    sregs->ldt = (struct kvm_segment){.unusable = 1};
    /* The tables forbid execution where there is no code. */
    sregs->efer |= EFER_NXE;
}

void kvm_run_put_events(struct cpu *cpu)
{
    struct kvm_vcpu_events *events = &cpu->run->s.regs.events;

    if (events->nmi.masked == cpu->nmi_blocked && events->interrupt.shadow == cpu->interrupt_shadow)
        return;
    *events = (struct kvm_vcpu_events){
        .flags = KVM_VCPUEVENT_VALID_SHADOW,
        .nmi.masked = cpu->nmi_blocked,
        .interrupt.shadow = cpu->interrupt_shadow ? KVM_X86_SHADOW_INT_STI : 0,
    };
    cpu->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
}

void kvm_run_set_stepping(struct cpu *cpu, bool on)
{
    struct kvm_guest_debug debug = {
        .control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP : 0,
    };
    if (cpu->loop->stepping == on)
        return;
    ioctl(cpu->fd, KVM_SET_GUEST_DEBUG, &debug);
    cpu->loop->stepping = on;
}

void kvm_run_fail(struct cpu *cpu, const char *format, ...)
{
    char reason[200];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    snprintf(cpu->vcpu->failure, sizeof cpu->vcpu->failure, "vCPU %u cannot go on: %s",
             cpu->vcpu->index, reason);
    cpu->loop->refused = true;
}
