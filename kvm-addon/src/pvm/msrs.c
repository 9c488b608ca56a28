/*
 * RDMSR and WRMSR. The registers of SYSCALL, SYSENTER and the segments are kept here; KVM has the
 * others, and decides which a guest may read and write.
 */
#include "msrs.h"

#include <sys/ioctl.h>
#include <x86intrin.h>

#include "arch.h"
#include "cpuid.h"
#include "interrupts.h"
#include "kvm_run.h"
#include "routines.h"
#include "system.h"
#include "tlb.h"
#include "walk.h"

#define MSR_KVM_SYSTEM_TIME 0x12u
#define MSR_KVM_FIRST 0x4b564d00u
#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u
#define MSR_KVM_LAST 0x4b564dffu

/*
 * The processor is not affected by: RDCL (Meltdown), L1TF, SSB, MDS, TAA, stale data of MMIO, BHI,
 * PBRSB, GDS, RFDS, ITS; and IBRS works all the time (cpuid.c says why). The remaining controls
 * have no effect.
 */
#define MSR_ARCH_CAPABILITIES 0x10au
#define ARCH_CAPABILITIES                                                                          \
    (1ull << 0 | 1ull << 1 | 1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 6 | 1ull << 8 |           \
     1ull << 13 | 1ull << 14 | 1ull << 15 | 1ull << 20 | 1ull << 24 | 1ull << 26 | 1ull << 27 |    \
     1ull << 62)
#define MSR_SPEC_CTRL 0x48u
#define MSR_PRED_CMD 0x49u

/* Supervisor state of XSAVES: there is none. */
#define MSR_XSS 0xda0u

/* AMD: the TSC counts at the frequency of P0; a kernel says that the firmware is broken if not. */
#define MSR_HWCR 0xc0010015u
#define HWCR_TSC_AT_P0 (1ull << 24)

bool msrs_kvm_get(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    struct {
        struct kvm_msrs header;
        struct kvm_msr_entry entry;
    } msr = {.header.nmsrs = 1, .entry.index = number};

    if (ioctl(cpu->fd, KVM_GET_MSRS, &msr) != 1)
        return false;
    *value = msr.entry.data;
    return true;
}

bool msrs_kvm_set(struct cpu *cpu, uint32_t number, uint64_t value)
{
    struct {
        struct kvm_msrs header;
        struct kvm_msr_entry entry;
    } msr = {.header.nmsrs = 1, .entry = {.index = number, .data = value}};

    return ioctl(cpu->fd, KVM_SET_MSRS, &msr) == 1;
}

uint64_t *msrs_kept(struct cpu *cpu, uint32_t number)
{
    struct cpu_msrs *msrs = cpu->msrs;

    switch (number) {
    case MSR_STAR:
        return &msrs->star;
    case MSR_LSTAR:
        return &msrs->lstar;
    case MSR_CSTAR:
        return &msrs->cstar;
    case MSR_SFMASK:
        return &msrs->sfmask;
    case MSR_SYSENTER_CS:
        return &msrs->sysenter_cs;
    case MSR_SYSENTER_ESP:
        return &msrs->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &msrs->sysenter_eip;
    case MSR_FS_BASE:
        return &cpu->segment_base[BASE_FS];
    case MSR_GS_BASE:
        return &cpu->segment_base[BASE_GS];
    case MSR_KERNEL_GS_BASE:
        return &msrs->kernel_gs_base;
    case MSR_TSC_AUX:
        return &msrs->tsc_aux;
    default:
        return NULL;
    }
}

bool msrs_is_clock(uint32_t number)
{
    return number == MSR_KVM_SYSTEM_TIME || number == MSR_KVM_SYSTEM_TIME_NEW;
}

static bool holds_address(uint32_t number)
{
    switch (number) {
    case MSR_LSTAR:
    case MSR_CSTAR:
    case MSR_SYSENTER_ESP:
    case MSR_SYSENTER_EIP:
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_KERNEL_GS_BASE:
        return true;
    default:
        return false;
    }
}

uint64_t msr_read(struct cpu *cpu, const struct insn *insn, uint32_t number)
{
    const uint64_t *here = msrs_kept(cpu, number);
    uint64_t value;

    if (here)
        return *here;
    switch (number) {
    case MSR_EFER:
        return cpu->sregs.efer;
    case MSR_TSC:
        return __rdtsc();
    case MSR_APIC_BASE:
        return kvm_run_sregs(cpu)->apic_base;
    case MSR_XSS:
        return 0;
    case MSR_ARCH_CAPABILITIES:
        return ARCH_CAPABILITIES;
    case MSR_SPEC_CTRL:
        return cpu->msrs->spec_ctrl;
    default:
        if (!msrs_kvm_get(cpu, number, &value))
            cpu_raise_error(cpu, insn, VECTOR_GP, 0);
        return number == MSR_HWCR ? value | HWCR_TSC_AT_P0 : value;
    }
}

static void write_efer(struct cpu *cpu, const struct insn *insn, uint64_t value)
{
    uint64_t old = cpu->sregs.efer;

    if (value & ~cpu->cpuid->efer_allowed)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    /* LMA is the processor's own, and LME does not change while paging is on. */
    value = (value & ~EFER_LMA) | (old & EFER_LMA);
    if ((old ^ value) & EFER_LME && cpu->sregs.cr0 & CR0_PG)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    cpu->sregs.efer = value;
    if ((old ^ value) & EFER_NXE)
        tlb_flush_all(cpu);
}

/* Transitions that SDM 3A figure 11-27 does not have raise #GP; KVM would allow them. */
static bool apic_base_is_legal(uint64_t old, uint64_t value)
{
    unsigned from = old >> 10 & 3;
    unsigned to = value >> 10 & 3;
    enum { OFF, INVALID, XAPIC, X2APIC };

    if (to == INVALID || value & 0x2ff)
        return false;
    if (from == X2APIC)
        return to != XAPIC;
    return !(from == OFF && to == X2APIC);
}

static void write_apic_base(struct cpu *cpu, const struct insn *insn, uint64_t value)
{
    struct kvm_sregs *sregs = kvm_run_sregs(cpu);

    if (!apic_base_is_legal(sregs->apic_base, value) || !msrs_kvm_set(cpu, MSR_APIC_BASE, value))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    sregs->apic_base = value;
}

static void write_x2apic(struct cpu *cpu, const struct insn *insn, uint32_t number, uint64_t value)
{
    uint32_t offset = (number - MSR_X2APIC_FIRST) << 4;

    interrupts_lapic_writing(cpu, offset, value);
    if (!msrs_kvm_set(cpu, number, value))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    if (offset == LAPIC_TPR)
        kvm_run_sregs(cpu)->cr8 = value >> 4 & 15;
    interrupts_lapic_written(cpu, offset, value, true);
}

/*
 * KVM's own MSRs: some of those that CPUID does not offer would interfere with the engine's runs.
 */
static bool is_hidden(uint32_t number)
{
    return number >= MSR_KVM_FIRST && number <= MSR_KVM_LAST && number != MSR_KVM_WALL_CLOCK_NEW &&
           number != MSR_KVM_SYSTEM_TIME_NEW;
}

static void write_to_kvm(struct cpu *cpu, const struct insn *insn, uint32_t number, uint64_t value)
{
    if (is_hidden(number))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    if (!msrs_kvm_set(cpu, number, value))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    /* KVM updates the clock's page only when it next enters the guest, which would be too late. */
    if (msrs_is_clock(number))
        routine_touch(cpu);
}

void msr_write(struct cpu *cpu, const struct insn *insn, uint32_t number, uint64_t value)
{
    uint64_t *here = msrs_kept(cpu, number);

    if (here) {
        if (holds_address(number) && !walk_is_canonical(cpu, value))
            cpu_raise_error(cpu, insn, VECTOR_GP, 0);
        if (number == MSR_TSC_AUX && (value >> 32 || !msrs_kvm_set(cpu, number, value)))
            cpu_raise_error(cpu, insn, VECTOR_GP, 0);
        *here = value;
        return;
    }
    switch (number) {
    case MSR_EFER:
        write_efer(cpu, insn, value);
        return;
    case MSR_TSC:
        /* The processor's own counter is what CPL 3 reads: it cannot be set. */
        return;
    case MSR_APIC_BASE:
        write_apic_base(cpu, insn, value);
        return;
    case MSR_XSS:
    case MSR_ARCH_CAPABILITIES:
        if (value || number == MSR_ARCH_CAPABILITIES)
            cpu_raise_error(cpu, insn, VECTOR_GP, 0);
        return;
    case MSR_SPEC_CTRL:
        cpu->msrs->spec_ctrl = value;
        return;
    case MSR_PRED_CMD:
        return;
    case MSR_TSC_DEADLINE:
        write_to_kvm(cpu, insn, number, value);
        interrupts_deadline_written(cpu, value);
        return;
    default:
        if (number >= MSR_X2APIC_FIRST && number <= MSR_X2APIC_LAST)
            write_x2apic(cpu, insn, number, value);
        else
            write_to_kvm(cpu, insn, number, value);
    }
}
