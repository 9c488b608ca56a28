/* A GDT, an LDT, an IDT and a TSS in a fake engine's memory, for tests. */
#ifndef TSVM_TEST_ENGINE_DESCRIPTORS_H
#define TSVM_TEST_ENGINE_DESCRIPTORS_H

#include "../../src/pvm/cpu_mode.h"
#include "../../src/pvm/cpuid.h"
#include "../../src/pvm/descriptor.h"
#include "../../src/pvm/msrs.h"
#include "../../src/pvm/system.h"
#include "../check.h"
#include "engine_fake.h"

/* Virtual addresses, each of a separate page; guest-physical addresses are derived from them. */
#define TABLES_VA 0xffff800000000000ull
#define GDT_VA (TABLES_VA + 0x0000)
#define LDT_VA (TABLES_VA + 0x1000)
#define IDT_VA (TABLES_VA + 0x2000)
#define TSS_VA (TABLES_VA + 0x3000)
#define STACK_VA (TABLES_VA + 0x4000) /* of CPL 0 */
#define IST_VA (TABLES_VA + 0x5000)
#define USER_STACK_VA 0x600000ull
#define TABLES_GPA 0x400000ull

enum selectors {
    SELECTOR_CODE0 = 0x08,
    SELECTOR_DATA0 = 0x10,
    SELECTOR_CODE3_32 = 0x18,
    SELECTOR_DATA3 = 0x20,
    SELECTOR_CODE3 = 0x28,
    SELECTOR_ABSENT_CODE3 = 0x30,
    SELECTOR_CONFORMING = 0x38,
    SELECTOR_READ_ONLY3 = 0x40,
    SELECTOR_TSS = 0x48, /* this entry and the next: 16 bytes */
    SELECTOR_LDT = 0x58,
    SELECTOR_ABSENT_DATA3 = 0x68,
    SELECTOR_EXECUTE_ONLY3 = 0x70,
    SELECTOR_BOTH_SIZES = 0x78, /* L and D */
    SELECTOR_DATA3_BASED = 0x80,
    SELECTOR_CODE0_32 = 0x88,
    SELECTOR_ABSENT_CODE0 = 0x90,
    GDT_BYTES = 0x98,
    SELECTOR_IN_LDT = 0x0c, /* entry 1 of the LDT, RPL 0 */
};

struct machine {
    struct fake fake;
    struct cpu *cpu;
    struct cpu_msrs msrs;
    struct cpu_cpuid cpuid;
};

static inline uint64_t *machine_word(struct machine *machine, uint64_t va)
{
    uint64_t gpa = va >= TABLES_VA ? va - TABLES_VA + TABLES_GPA : va;
    return fake_word(&machine->fake, gpa);
}

/* The stack pointers in the TSS are not aligned. */
static inline void machine_set_tss(struct machine *machine, unsigned offset, uint64_t stack)
{
    memcpy((uint8_t *)machine_word(machine, TSS_VA) + offset, &stack, sizeof stack);
}

static inline void machine_set_gdt(struct machine *machine)
{
    static const uint64_t gdt[GDT_BYTES / 8] = {
        [SELECTOR_CODE0 / 8] = 0x00af9a000000ffff,
        [SELECTOR_DATA0 / 8] = 0x00cf92000000ffff,
        [SELECTOR_CODE3_32 / 8] = 0x00cffa000000ffff,
        [SELECTOR_DATA3 / 8] = 0x00cff2000000ffff,
        [SELECTOR_CODE3 / 8] = 0x00affa000000ffff,
        [SELECTOR_ABSENT_CODE3 / 8] = 0x00af7a000000ffff,
        [SELECTOR_CONFORMING / 8] = 0x00af9e000000ffff,
        [SELECTOR_READ_ONLY3 / 8] = 0x00cff0000000ffff,
        [SELECTOR_TSS / 8] = (TSS_VA & 0xffffff) << 16 | 0x0000890000000067,
        [SELECTOR_TSS / 8 + 1] = TSS_VA >> 32,
        [SELECTOR_LDT / 8] = (LDT_VA & 0xffffff) << 16 | 0x000082000000000f,
        [SELECTOR_LDT / 8 + 1] = LDT_VA >> 32,
        [SELECTOR_ABSENT_DATA3 / 8] = 0x00cf72000000ffff,
        [SELECTOR_EXECUTE_ONLY3 / 8] = 0x00aff8000000ffff,
        [SELECTOR_BOTH_SIZES / 8] = 0x00effa000000ffff,
        [SELECTOR_DATA3_BASED / 8] = 0x12cff2345678ffff,
        [SELECTOR_CODE0_32 / 8] = 0x00cf9a000000ffff,
        [SELECTOR_ABSENT_CODE0 / 8] = 0x00af1a000000ffff,
    };
    memcpy(machine_word(machine, GDT_VA), gdt, sizeof gdt);
    *machine_word(machine, LDT_VA + 8) = 0x00cf92000000ffff;
}

/* 64-bit code at CPL 0, with all tables set up. */
static inline bool machine_init(struct machine *machine)
{
    if (!fake_init(&machine->fake, 1))
        return false;
    machine->cpu = &machine->fake.cpus[0];
    machine->cpu->msrs = &machine->msrs;
    machine->cpu->cpuid = &machine->cpuid;
    for (uint64_t page = 0; page < 6; page++)
        fake_map(&machine->fake, FAKE_ROOT, TABLES_VA + page * PAGE_SIZE,
                 (TABLES_GPA + page * PAGE_SIZE) | P | W);
    fake_map(&machine->fake, FAKE_ROOT, USER_STACK_VA, USER_STACK_VA | P | W | U);
    machine_set_gdt(machine);
    return true;
}

static inline void machine_reset(struct machine *machine)
{
    struct cpu *cpu = machine->cpu;

    machine_set_gdt(machine);
    cpu->sregs.gdt = (struct kvm_dtable){.base = GDT_VA, .limit = GDT_BYTES - 1};
    cpu->sregs.idt = (struct kvm_dtable){.base = IDT_VA, .limit = 4095};
    cpu->sregs.tr = (struct kvm_segment){.base = TSS_VA,
                                         .limit = 0x67,
                                         .selector = SELECTOR_TSS,
                                         .type = TYPE_TSS_BUSY,
                                         .present = 1};
    cpu->sregs.ldt = (struct kvm_segment){
        .base = LDT_VA, .limit = 15, .selector = SELECTOR_LDT, .type = TYPE_LDT, .present = 1};
    cpu->sregs.efer |= EFER_SCE;
    cpu->sregs.cs = descriptor_flat_code(SELECTOR_CODE0, 0, true);
    cpu->sregs.ss = descriptor_flat_data(SELECTOR_DATA0, 0);
    cpu->sregs.ds = cpu->sregs.es = (struct kvm_segment){.unusable = 1};
    cpu->sregs.fs = cpu->sregs.gs = (struct kvm_segment){.unusable = 1};
    cpu->compat = false;
    cpu->nmi_blocked = false;
    cpu->rip = 0x1000;
    cpu->r[REG_RSP] = STACK_VA + 0x800;
    cpu_set_rflags(cpu, 2);
    cpu_set_cpl(cpu, 0);
    machine->cpuid.is_amd = true;
    machine_set_tss(machine, 4, STACK_VA + 0xff0);
    tlb_flush_all(cpu);
}

/* The same at CPL 3. */
static inline void machine_enter_user(struct machine *machine)
{
    struct cpu *cpu = machine->cpu;

    cpu->sregs.cs = descriptor_flat_code(SELECTOR_CODE3 | 3, 3, true);
    cpu->sregs.ss = descriptor_flat_data(SELECTOR_DATA3 | 3, 3);
    cpu->r[REG_RSP] = USER_STACK_VA + 0x800;
    cpu_set_rflags(cpu, RFLAGS_IF);
    cpu_set_cpl(cpu, 3);
}

/* Whether `expression` raised the exception without changing the state. */
#define RAISES(cpu, expected, code, expression)                                                    \
    ({                                                                                             \
        struct cpu before_ = {0};                                                                  \
        memcpy(&before_.r, (cpu)->r, sizeof before_.r);                                            \
        before_.sregs = (cpu)->sregs;                                                              \
        uint64_t rip_ = (cpu)->rip, rflags_ = cpu_rflags(cpu);                                     \
        unsigned cpl_ = (cpu)->cpl;                                                                \
        int why_ = FAKE_TRY(cpu, expression);                                                      \
        why_ == INTERPRETED_EXCEPTION && (cpu)->exception.vector == (expected) &&                  \
            (cpu)->exception.error == (code) && (cpu)->rip == rip_ &&cpu_rflags(cpu) == rflags_ && \
            (cpu)->cpl == cpl_ &&memcmp(&before_.r, (cpu)->r, sizeof before_.r) == 0 &&            \
            memcmp(&before_.sregs, &(cpu)->sregs, sizeof before_.sregs) == 0;                      \
    })

#endif
