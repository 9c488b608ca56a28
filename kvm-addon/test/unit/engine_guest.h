/*
 * A small guest to test the interpreter without KVM: 1 MiB of memory between inaccessible pages,
 * with page tables that it can change, a GDT, an IDT, a TSS, and all kinds of pages. What needs KVM
 * fails as it does without KVM.
 */
#ifndef TSVM_TEST_ENGINE_GUEST_H
#define TSVM_TEST_ENGINE_GUEST_H

#include <sys/mman.h>

#include "../../src/pvm/arch.h"
#include "../../src/pvm/code_cache.h"
#include "../../src/pvm/counters.h"
#include "../../src/pvm/cpu_mode.h"
#include "../../src/pvm/cpu_setup.h"
#include "../../src/pvm/cpuid.h"
#include "../../src/pvm/devices.h"
#include "../../src/pvm/engine.h"
#include "../../src/pvm/fpu.h"
#include "../../src/pvm/interrupts.h"
#include "../../src/pvm/loop.h"
#include "../../src/pvm/moderation.h"
#include "../../src/pvm/msrs.h"
#include "../../src/pvm/page_entry.h"
#include "../../src/pvm/private_region.h"
#include "../../src/pvm/safepoint.h"
#include "../../src/pvm/system.h"
#include "../../src/pvm/tables.h"
#include "../../src/pvm/tlb.h"
#include "../fuzz/fuzz.h"

#define GUEST_BYTES (1u << 20)
#define GUARD_BYTES (64u << 10)

/* Guest-physical and virtual addresses: the first MiB is identity-mapped, for the kernel only. */
#define GUEST_TABLES 0x1000u
#define GUEST_GDT 0x8000u
#define GUEST_IDT 0x9000u
#define GUEST_TSS 0xa000u
#define GUEST_STACK 0xf000u /* top of the kernel's stack */
#define GUEST_CODE 0x40000u
#define GUEST_CODE_BYTES 0x2000u
#define GUEST_DATA 0x80000u
/* Further mappings of the first MiB: for programs; read-only; no-execute; then a device and an
 * unmapped page. */
#define GUEST_USER 0x40000000ull
#define GUEST_READ_ONLY 0x40200000ull
#define GUEST_NO_EXECUTE 0x40400000ull
#define GUEST_DEVICE 0x40600000ull
#define GUEST_UPPER 0xffffffff80000000ull

#define SELECTOR_KERNEL 0x08u
#define SELECTOR_DATA 0x10u
#define SELECTOR_USER32 0x1bu
#define SELECTOR_USER_DATA 0x23u
#define SELECTOR_USER 0x2bu
#define SELECTOR_TSS 0x30u
#define SELECTOR_KERNEL32 0x40u

struct guest {
    struct guest_memory memory;
    struct engine engine;
    struct private_region region;
    struct cpu cpu;
    struct kvm_run run;
    struct cpu_msrs msrs;
    struct cpu_cpuid cpuid;
    struct cpu_interrupts interrupts;
    struct moderation moderation;
    struct cpu_loop loop;
    bool translates; /* code is translated before its first execution */
    uint8_t *ram;
    uint8_t *image; /* the initial memory */
};

/* ---- devices without state ---- */

uint64_t device_read(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size)
{
    (void)cpu;
    (void)insn;
    REQUIRE(size == 1 || size == 2 || size == 4 || size == 8);
    REQUIRE(gpa >= GUEST_BYTES);
    return 0x5a5a5a5a5a5a5a5aull >> (64 - 8 * size);
}

void device_write(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size,
                  uint64_t value)
{
    (void)cpu;
    (void)insn;
    (void)value;
    REQUIRE(size == 1 || size == 2 || size == 4 || size == 8);
    REQUIRE(gpa >= GUEST_BYTES);
}

uint32_t port_read(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size)
{
    (void)cpu;
    (void)insn;
    REQUIRE(size == 1 || size == 2 || size == 4);
    return port;
}

void port_write(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size,
                uint32_t value)
{
    (void)cpu;
    (void)insn;
    (void)port;
    (void)value;
    REQUIRE(size == 1 || size == 2 || size == 4);
}

/* ---- memory ---- */

static inline void guest_put(struct guest *guest, uint64_t gpa, uint64_t word)
{
    memcpy(guest->image + gpa, &word, 8);
}

/* Maps the first MiB at `va` by the level-1 table `table`, which is reached through two further
 * tables. */
static inline void guest_map(struct guest *guest, uint64_t va, uint64_t table, uint64_t rights)
{
    const uint64_t upper = ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_USER;
    bool low = va < GUEST_UPPER;
    uint64_t second = low ? 0x2000 : 0x4000;
    /* Addresses below 512 GiB use one table of level 3 and one table of level 2 per GiB. */
    guest_put(guest, GUEST_TABLES + 8 * entry_index(va, 4), second | upper);
    uint64_t third = low && va < GUEST_USER ? 0x3000 : low ? 0x5000 : 0x6000;
    guest_put(guest, second + 8 * entry_index(va, 3), third | upper);
    guest_put(guest, third + 8 * entry_index(va, 2), table | upper);
    for (unsigned i = 0; i < GUEST_BYTES >> 12; i++)
        guest_put(guest, table + 8 * i, i << 12 | rights);
}

static inline void guest_make_tables(struct guest *guest)
{
    const uint64_t program = ENTRY_PRESENT | ENTRY_USER;
    guest_map(guest, 0, 0x10000, ENTRY_PRESENT | ENTRY_WRITABLE);
    guest_map(guest, GUEST_USER, 0x11000, program | ENTRY_WRITABLE);
    guest_map(guest, GUEST_READ_ONLY, 0x12000, program);
    guest_map(guest, GUEST_NO_EXECUTE, 0x13000, program | ENTRY_WRITABLE | ENTRY_NO_EXECUTE);
    guest_map(guest, GUEST_UPPER, 0x14000, ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_GLOBAL);
    /* A large page of devices after the memory. */
    guest_put(guest, 0x5000 + 8 * entry_index(GUEST_DEVICE, 2),
              0xd0000000 | program | ENTRY_WRITABLE | ENTRY_LARGE);
}

static inline void guest_make_descriptors(struct guest *guest)
{
    static const uint64_t gdt[] = {
        0,
        0x00af9b000000ffff, /* kernel, 64-bit */
        0x00cf93000000ffff,
        0x00cffb000000ffff, /* program, 32-bit */
        0x00cff3000000ffff,
        0x00affb000000ffff, /* program, 64-bit */
        0x0000890000000067 | (uint64_t)GUEST_TSS << 16,
        0,
        0x00cf9b000000ffff, /* kernel, 32-bit */
        0x0040f30012340fff, /* a small one */
        0x00cf9f000000ffff, /* conforming */
        0x0000ec0000080000, /* a call gate */
    };
    for (unsigned i = 0; i < sizeof(gdt) / sizeof(*gdt); i++)
        guest_put(guest, GUEST_GDT + 8 * i, gdt[i]);
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t target = GUEST_CODE + 16 * vector, dpl = vector % 4;
        uint64_t type = vector % 5 ? 0x8e : 0x8f, ist = vector == 8 ? 1 : 0;
        guest_put(guest, GUEST_IDT + 16 * vector,
                  (target & 0xffff) | SELECTOR_KERNEL << 16 | ist << 32 | type << 40 | dpl << 45 |
                      (target & 0xffff0000) << 32);
    }
    for (unsigned i = 0; i < 13; i++)
        guest_put(guest, GUEST_TSS + 4 + 8 * i, GUEST_STACK);
    guest->image[GUEST_TSS + 0x66] = 0x68; /* no I/O permission map */
}

/* Guest memory between two inaccessible pages. */
static inline bool guest_map_memory(struct guest *guest)
{
    uint8_t *reserved =
        mmap(NULL, GUEST_BYTES + 2 * GUARD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (reserved == MAP_FAILED)
        return false;
    guest->ram = reserved + GUARD_BYTES;
    if (mprotect(guest->ram, GUEST_BYTES, PROT_READ | PROT_WRITE) != 0)
        return false;
    guest->memory.regions[0] =
        (struct guest_memory_region){.gpa = 0, .size = GUEST_BYTES, .hva = guest->ram};
    guest->memory.count = 1;
    return true;
}

/* ---- the vCPU ---- */

static inline bool guest_init(struct guest *guest)
{
    struct cpu *cpu = &guest->cpu;
    guest->image = calloc(1, GUEST_BYTES);
    guest->region.gpa = 0xd8000000;
    guest->region.memory = calloc(1, PRIVATE_REGION_SPAN);
    if (!guest->image || !guest->region.memory || !guest_map_memory(guest))
        return false;
    /* Filled with HLT, so that code that runs past its end stops soon. */
    memset(guest->image, 0xf4, GUEST_BYTES);
    memset(guest->image + GUEST_TABLES, 0, 0x20000 - GUEST_TABLES);
    guest_make_tables(guest);
    guest_make_descriptors(guest);
    guest->engine.memory = &guest->memory;
    guest->engine.private_region = &guest->region;
    guest->engine.reserved_bits = 0x000fff0000000000ull;
    guest->engine.translate_after = 1;
    guest->cpuid.physical_bits = 40;
    guest->cpuid.cr4_allowed = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE |
                               CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE |
                               CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP;
    guest->cpuid.efer_allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    cpu->fd = -1;
    cpu->run = &guest->run;
    cpu->msrs = &guest->msrs;
    cpu->cpuid = &guest->cpuid;
    cpu->interrupts = &guest->interrupts;
    cpu->moderation = &guest->moderation;
    cpu->loop = &guest->loop;
    if (frames_init(&guest->engine.frames, &guest->memory) != 0 ||
        tables_init(&guest->engine) != 0 || cpu_init(cpu, &guest->engine, 0) != 0 ||
        fpu_init(cpu) != 0)
        return false;
    safepoint_enter(cpu);
    return true;
}

static inline struct kvm_segment guest_segment(uint16_t selector, unsigned type, unsigned dpl,
                                               bool is_64)
{
    return (struct kvm_segment){.selector = selector,
                                .limit = UINT32_MAX,
                                .type = (uint8_t)type,
                                .present = 1,
                                .dpl = (uint8_t)dpl,
                                .s = 1,
                                .l = is_64,
                                .db = !is_64,
                                .g = 1};
}

/* Resets control registers, segments and flags, for code of this privilege level and mode. */
static inline void guest_set_mode(struct guest *guest, unsigned cpl, bool compat)
{
    struct cpu *cpu = &guest->cpu;
    struct kvm_sregs *sregs = &cpu->sregs, old = *sregs;
    memset(sregs, 0, sizeof(*sregs));
    sregs->cr0 = CR0_PG | CR0_PE | CR0_WP | CR0_NE | CR0_ET | CR0_MP;
    sregs->cr3 = GUEST_TABLES;
    sregs->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXSAVE;
    sregs->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    sregs->gdt = (struct kvm_dtable){.base = GUEST_GDT, .limit = 12 * 8 - 1};
    sregs->idt = (struct kvm_dtable){.base = GUEST_IDT, .limit = 4095};
    sregs->tr = (struct kvm_segment){
        .selector = SELECTOR_TSS, .base = GUEST_TSS, .limit = 0x67, .type = 11, .present = 1};
    sregs->ldt.unusable = 1;
    uint16_t code = cpl == 3 ? (compat ? SELECTOR_USER32 : SELECTOR_USER)
                             : (compat ? SELECTOR_KERNEL32 : SELECTOR_KERNEL);
    uint16_t data = cpl == 3 ? SELECTOR_USER_DATA : SELECTOR_DATA;
    sregs->cs = guest_segment(code, 11, cpl, !compat);
    sregs->ss = sregs->ds = sregs->es = guest_segment(data, 3, cpl, false);
    sregs->fs = sregs->gs = sregs->ds;
    cpu->segment_base[BASE_FS] = cpu->segment_base[BASE_GS] = 0;
    cpu->attention = 0;
    cpu->interrupt_waits = false;
    cpu->interrupt_shadow = 0;
    cpu->once = false;
    cpu->compat = compat;
    cpu_set_rflags(cpu, 2);
    cpu_set_cpl(cpu, cpl);
    if (old.cr0 != sregs->cr0 || old.cr3 != sregs->cr3 || old.cr4 != sregs->cr4 ||
        old.efer != sregs->efer)
        tlb_flush_all(cpu);
}

/* Resets everything. */
static inline void guest_reset(struct guest *guest, unsigned cpl, bool compat)
{
    struct cpu *cpu = &guest->cpu;
    memcpy(guest->ram, guest->image, GUEST_BYTES);
    guest->msrs =
        (struct cpu_msrs){.star = (uint64_t)SELECTOR_USER32 << 48 | (uint64_t)SELECTOR_KERNEL << 32,
                          .lstar = GUEST_CODE + 0x1000,
                          .cstar = GUEST_CODE + 0x1000,
                          .sfmask = 0x47700};
    guest_set_mode(guest, cpl, compat);
    tlb_flush_all(cpu);
    code_invalidate_all(cpu);
    memset(cpu->heat, guest->translates ? 1 : 0, sizeof(cpu->heat));
    for (uint64_t frame = 0; frame < GUEST_BYTES >> 12; frame++)
        guest->engine.frames.of[frame] = (struct frame){0};
    fpu_forget(cpu);
}

static inline void guest_free(struct guest *guest)
{
    safepoint_exit(&guest->cpu);
    fpu_destroy(&guest->cpu);
    cpu_destroy(&guest->cpu);
    tables_destroy(&guest->engine);
    frames_destroy(&guest->engine.frames);
    munmap(guest->ram - GUARD_BYTES, GUEST_BYTES + 2 * GUARD_BYTES);
    free(guest->region.memory);
    free(guest->image);
}

#endif
