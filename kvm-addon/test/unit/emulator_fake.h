/* A vCPU of kvm-pvm without KVM: guest memory with page tables, and calls that keep their state. */
#ifndef TSVM_TEST_PVM_FAKE_H
#define TSVM_TEST_PVM_FAKE_H

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "../../src/emulator/compat.h"
#include "../../src/emulator/walk.h"

#define FAKE_PAGE 4096u
#define FAKE_MEMORY (256 * FAKE_PAGE)

/* Guest-physical pages of the tables. */
#define FAKE_PML4 0x1000u
#define FAKE_PDPT 0x2000u
#define FAKE_DIRECTORY 0x3000u
#define FAKE_TABLE 0x4000u
/* Where the table above maps: the 2 MiB at this address, page by page. */
#define FAKE_BASE 0x40000000ull

#define FAKE_MSRS 8

struct emu_fake {
    struct emu_cpu cpu; /* first: the calls find the fake by it */
    struct emu_vm vm;
    struct guest_memory memory;
    struct kvm_run run;
    uint8_t image[EMU_XSAVE_IMAGE_LENGTH];
    uint64_t xcr0;
    int set_xsave_result;
    unsigned calls_made;
    uint32_t msr_index[FAKE_MSRS];
    uint64_t msr_value[FAKE_MSRS];
    unsigned msr_count;
    uint32_t msr_refused;
};

static inline struct emu_fake *fake_of(struct emu_state *state)
{
    return (struct emu_fake *)((char *)state - offsetof(struct emu_cpu, state));
}

static inline int fake_get_xsave(struct emu_state *state, uint8_t image[EMU_XSAVE_IMAGE_LENGTH])
{
    fake_of(state)->calls_made++;
    memcpy(image, fake_of(state)->image, EMU_XSAVE_IMAGE_LENGTH);
    return 0;
}

static inline int fake_set_xsave(struct emu_state *state,
                                 const uint8_t image[EMU_XSAVE_IMAGE_LENGTH])
{
    fake_of(state)->calls_made++;
    if (fake_of(state)->set_xsave_result == 0)
        memcpy(fake_of(state)->image, image, EMU_XSAVE_IMAGE_LENGTH);
    return fake_of(state)->set_xsave_result;
}

static inline int fake_get_xcr0(struct emu_state *state, uint64_t *value)
{
    *value = fake_of(state)->xcr0;
    return 0;
}

static inline int fake_get_msr(struct emu_state *state, uint32_t index, uint64_t *value)
{
    struct emu_fake *fake = fake_of(state);
    for (unsigned i = 0; i < fake->msr_count; i++) {
        if (fake->msr_index[i] == index) {
            *value = fake->msr_value[i];
            return 0;
        }
    }
    return -EINVAL;
}

static inline int fake_set_msr(struct emu_state *state, uint32_t index, uint64_t value)
{
    struct emu_fake *fake = fake_of(state);
    unsigned i = 0;
    if (index == fake->msr_refused)
        return -EINVAL;
    while (i < fake->msr_count && fake->msr_index[i] != index)
        i++;
    if (i == FAKE_MSRS)
        return -ENOSPC;
    fake->msr_index[i] = index;
    fake->msr_value[i] = value;
    if (i == fake->msr_count)
        fake->msr_count++;
    return 0;
}

static const struct emu_state_calls fake_calls = {
    .get_xsave = fake_get_xsave,
    .set_xsave = fake_set_xsave,
    .get_xcr0 = fake_get_xcr0,
    .get_msr = fake_get_msr,
    .set_msr = fake_set_msr,
};

static inline uint8_t *fake_ram(struct emu_fake *fake, uint64_t gpa)
{
    return (uint8_t *)guest_memory_at(&fake->memory, gpa, 1);
}

static inline uint64_t *fake_entry(struct emu_fake *fake, uint64_t table, unsigned index)
{
    return (uint64_t *)(void *)fake_ram(fake, table + 8 * index);
}

/* Maps the page `index` pages beyond FAKE_BASE. */
static inline void fake_map(struct emu_fake *fake, unsigned index, uint64_t gpa, uint64_t bits)
{
    *fake_entry(fake, FAKE_TABLE, index) = gpa | bits;
}

static inline struct kvm_regs *fake_regs(struct emu_fake *fake)
{
    return &fake->run.s.regs.regs;
}

static inline struct kvm_sregs *fake_sregs(struct emu_fake *fake)
{
    return &fake->run.s.regs.sregs;
}

static inline const struct kvm_vcpu_events *fake_events(const struct emu_fake *fake)
{
    return &fake->run.s.regs.events;
}

/* Registers as a 64-bit kernel at CPL 0 has them, and everything that KVM_RUN would have reset. */
static inline void fake_reset_cpu(struct emu_fake *fake)
{
    memset(&fake->run, 0, sizeof fake->run);
    fake->run.kvm_valid_regs = EMU_SYNC_REGS;
    *fake_regs(fake) = (struct kvm_regs){.rip = 0xffffffff81000000ull, .rflags = 2};
    *fake_sregs(fake) = (struct kvm_sregs){
        .cr0 = 0x80050033,
        .cr3 = FAKE_PML4,
        .cr4 = 0x40620, /* OSXSAVE, OSXMMEXCPT, OSFXSR, PAE */
        .efer = 0xd00,  /* NXE, LMA, LME */
        .cs = {.limit = 0xffffffff, .selector = 16, .type = 11, .present = 1, .s = 1, .l = 1},
        .ss = {.limit = 0xffffffff, .selector = 24, .type = 3, .present = 1, .s = 1, .db = 1},
    };
}

/* Page `i` beyond FAKE_BASE is guest-physical page 16 + i, writable, for i below 64. */
static inline bool fake_init(struct emu_fake *fake)
{
    memset(fake, 0, sizeof *fake);
    if (guest_memory_add(&fake->memory, 0, FAKE_MEMORY) < 0)
        return false;
    fake->vm = (struct emu_vm){.vm_fd = -1, .memory = &fake->memory, .shim_gpa = 0xd0000000};
    emu_xsave_layout_read(&fake->vm.xsave);
    fake->cpu.vm = &fake->vm;
    fake->cpu.state = (struct emu_state){.run = &fake->run, .calls = &fake_calls, .vcpu_fd = -1};
    fake->xcr0 = fake->vm.xsave.supported;

    const uint64_t open = EMU_PTE_PRESENT | EMU_PTE_WRITABLE | EMU_PTE_USER;
    *fake_entry(fake, FAKE_PML4, 0) = FAKE_PDPT | open;
    *fake_entry(fake, FAKE_PDPT, FAKE_BASE >> 30) = FAKE_DIRECTORY | open;
    *fake_entry(fake, FAKE_DIRECTORY, 0) = FAKE_TABLE | open;
    for (unsigned i = 0; i < 64; i++)
        fake_map(fake, i, 16 * FAKE_PAGE + i * FAKE_PAGE, EMU_PTE_PRESENT | EMU_PTE_WRITABLE);
    fake_reset_cpu(fake);
    return true;
}

static inline void fake_free(struct emu_fake *fake)
{
    guest_memory_free(&fake->memory);
}

/* The memory at an address mapped by fake_init(). */
static inline uint8_t *fake_at(struct emu_fake *fake, uint64_t address)
{
    return fake_ram(fake, address - FAKE_BASE + 16 * FAKE_PAGE);
}

/* A KVM_EXIT_INTERNAL_ERROR for these bytes, as prepare_emulation_failure_exit() in KVM fills it.
 */
static inline enum emu_result fake_refuse(struct emu_fake *fake, const void *bytes, size_t length)
{
    fake->run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    fake->run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    fake->run.internal.ndata = 8;
    fake->run.emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
    fake->run.emulation_failure.insn_size = (__u8)length;
    memset(fake->run.emulation_failure.insn_bytes, 0x90, EMU_INSN_LENGTH_MAX);
    memcpy(fake->run.emulation_failure.insn_bytes, bytes, length);
    return emu_cpu_handle_exit(&fake->cpu);
}

#define FAKE_REFUSE(fake, bytes) fake_refuse(fake, bytes, sizeof bytes - 1)

/* The vector that the next KVM_RUN would deliver, or -1. */
static inline int fake_raised(const struct emu_fake *fake)
{
    const struct kvm_vcpu_events *events = fake_events(fake);
    if (!events->exception.injected || !(fake->run.kvm_dirty_regs & KVM_SYNC_X86_EVENTS))
        return -1;
    return events->exception.nr;
}

#endif
