/* Control and debug registers (SDM 3A 2.5, 17.2). */
#include "arch.h"
#include "breakpoints.h"
#include "cpuid.h"
#include "interrupts.h"
#include "kvm_run.h"
#include "system.h"
#include "tlb.h"
#include "walk.h"

#define CR0_CHANGEABLE                                                                             \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR0_OF_TRANSLATION (CR0_PE | CR0_PG | CR0_WP)
#define CR4_OF_TRANSLATION                                                                         \
    (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_LA57)
#define CR3_PCID 0xfffull
#define CR3_WRITE_THROUGH_AND_CACHE_DISABLE 0x18ull
#define CR8_MAX 15u

enum invpcid_type { INVPCID_ADDRESS, INVPCID_PCID, INVPCID_ALL, INVPCID_NONGLOBAL };

static void check(struct cpu *cpu, const struct insn *insn, bool legal)
{
    if (!legal)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

uint64_t control_read(struct cpu *cpu, const struct insn *insn, unsigned number)
{
    switch (number) {
    case 0:
        return cpu->sregs.cr0;
    case 2:
        return cpu->sregs.cr2;
    case 3:
        return cpu->sregs.cr3;
    case 4:
        return cpu->sregs.cr4;
    case 8:
        return kvm_run_sregs(cpu)->cr8;
    default:
        cpu_raise(cpu, insn, VECTOR_UD);
    }
}

static void write_cr0(struct cpu *cpu, const struct insn *insn, uint64_t value)
{
    uint64_t old = cpu->sregs.cr0;

    check(cpu, insn, !(value >> 32));
    check(cpu, insn, !(value & CR0_PG) || value & CR0_PE);
    check(cpu, insn, !(value & CR0_NW) || value & CR0_CD);
    /* Paging can be disabled only in 32-bit code: so a kernel leaves long mode. */
    check(cpu, insn, value & CR0_PG || cpu->compat);
    check(cpu, insn, value & CR0_PG || !(cpu->sregs.cr4 & CR4_PCIDE));
    value = (value & CR0_CHANGEABLE) | CR0_ET;
    cpu->sregs.cr0 = value;
    if (!(value & CR0_PG))
        cpu->sregs.efer &= ~EFER_LMA;
    if ((old ^ value) & CR0_OF_TRANSLATION)
        tlb_flush_all(cpu);
}

static void write_cr3(struct cpu *cpu, const struct insn *insn, uint64_t value)
{
    uint64_t low = cpu->sregs.cr4 & CR4_PCIDE ? CR3_PCID : CR3_WRITE_THROUGH_AND_CACHE_DISABLE;
    uint64_t address = ((1ull << cpu->cpuid->physical_bits) - 1) & PAGE_BASE;

    /* Without PCIDs bits 11:5 and 2:0 are ignored. */
    if (cpu->sregs.cr4 & CR4_PCIDE)
        value &= ~CR3_NO_FLUSH;
    check(cpu, insn, !(value & ~(address | PAGE_OFFSET)));
    cpu->sregs.cr3 = value & (address | low);
    tlb_flush_nonglobal(cpu);
}

static void write_cr4(struct cpu *cpu, const struct insn *insn, uint64_t value)
{
    uint64_t changed = cpu->sregs.cr4 ^ value;

    check(cpu, insn, !(value & ~cpu->cpuid->cr4_allowed));
    check(cpu, insn, value & CR4_PAE);
    check(cpu, insn, !(changed & value & CR4_PCIDE) || !(cpu->sregs.cr3 & CR3_PCID));
    cpu->sregs.cr4 = value;
    if (changed & CR4_OF_TRANSLATION) {
        tlb_flush_all(cpu);
        cpu_choose_tlb(cpu);
    }
}

void control_write(struct cpu *cpu, const struct insn *insn, unsigned number, uint64_t value)
{
    switch (number) {
    case 0:
        write_cr0(cpu, insn, value);
        return;
    case 2:
        cpu->sregs.cr2 = value;
        return;
    case 3:
        write_cr3(cpu, insn, value);
        return;
    case 4:
        write_cr4(cpu, insn, value);
        return;
    case 8:
        check(cpu, insn, value <= CR8_MAX);
        interrupts_set_tpr(cpu, value);
        return;
    default:
        cpu_raise(cpu, insn, VECTOR_UD);
    }
}

/* DR4 and DR5 are other names of DR6 and DR7 unless debugging extensions are on. */
static unsigned debug_number(struct cpu *cpu, const struct insn *insn, unsigned number)
{
    if (number == 4 || number == 5) {
        if (cpu->sregs.cr4 & CR4_DE)
            cpu_raise(cpu, insn, VECTOR_UD);
        number += 2;
    }
    if (cpu->debug.dr7 & DR7_GD) {
        cpu->debug.dr7 &= ~DR7_GD;
        cpu->exception =
            (struct cpu_exception){.vector = VECTOR_DB, .is_fault = true, .address = DR6_BD};
        cpu_leave(cpu, insn, INTERPRETED_EXCEPTION);
    }
    return number;
}

uint64_t debug_read(struct cpu *cpu, const struct insn *insn, unsigned number)
{
    number = debug_number(cpu, insn, number);
    if (number < 4)
        return cpu->debug.db[number];
    return number == 6 ? cpu->debug.dr6 | DR6_FIXED : cpu->debug.dr7 | DR7_FIXED;
}

void debug_write(struct cpu *cpu, const struct insn *insn, unsigned number, uint64_t value)
{
    number = debug_number(cpu, insn, number);
    if (number < 4) {
        cpu->debug.db[number] = value;
        breakpoints_changed(cpu);
        return;
    }
    check(cpu, insn, !(value >> 32));
    if (number == 6) {
        cpu->debug.dr6 = (value & 0xe00f) | DR6_FIXED;
        return;
    }
    cpu->debug.dr7 = (value & 0xffff2bff) | DR7_FIXED;
    breakpoints_changed(cpu);
}

/* The TLB has no PCIDs: flushing one flushes everything that is not global. */
void control_invpcid(struct cpu *cpu, const struct insn *insn, uint64_t type, uint64_t pcid,
                     uint64_t address)
{
    check(cpu, insn, type <= INVPCID_NONGLOBAL && !(pcid & ~CR3_PCID));
    check(cpu, insn, pcid == 0 || type >= INVPCID_ALL || cpu->sregs.cr4 & CR4_PCIDE);
    switch ((enum invpcid_type)type) {
    case INVPCID_ADDRESS:
        check(cpu, insn, walk_is_canonical(cpu, address));
        tlb_flush_page(cpu, address);
        return;
    case INVPCID_PCID:
    case INVPCID_NONGLOBAL:
        tlb_flush_nonglobal(cpu);
        return;
    case INVPCID_ALL:
        tlb_flush_all(cpu);
        return;
    }
}
