#include "../../src/emulator/shim.h"
#include "../../src/emulator/syscall.h"
#include "../check.h"
#include "emulator_fake.h"

#define P EMU_PTE_PRESENT
#define W EMU_PTE_WRITABLE
#define U EMU_PTE_USER
#define KERNEL_ENTRY 0xffffffff81600040ull
#define SHIM_PDPT 0x8000u
#define SHIM_DIRECTORY 0x9000u

static struct emu_fake fake;

static enum emu_result wrmsr(uint32_t index, uint64_t value)
{
    fake.run.exit_reason = KVM_EXIT_X86_WRMSR;
    fake.run.msr.error = 0xff;
    fake.run.msr.reason = KVM_MSR_EXIT_REASON_FILTER;
    fake.run.msr.index = index;
    fake.run.msr.data = value;
    return emu_cpu_handle_exit(&fake.cpu);
}

static uint64_t rdmsr(uint32_t index)
{
    fake.run.exit_reason = KVM_EXIT_X86_RDMSR;
    fake.run.msr.error = 0xff;
    fake.run.msr.index = index;
    fake.run.msr.data = 0;
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_HANDLED && fake.run.msr.error == 0);
    return fake.run.msr.data;
}

static uint64_t kvm_msr(uint32_t index)
{
    uint64_t value = 0;
    CHECK(fake_get_msr(&fake.cpu.state, index, &value) == 0);
    return value;
}

/* The shim's store, from CPL 3. */
static enum emu_result doorbell(void)
{
    fake_reset_cpu(&fake);
    fake_sregs(&fake)->ss.dpl = 3;
    fake_regs(&fake)->rip = EMU_SHIM_ADDRESS + emu_shim_resume_offset();
    fake_regs(&fake)->rcx = 0x401234;
    fake_regs(&fake)->r11 = 0x246;
    fake.run.exit_reason = KVM_EXIT_MMIO;
    fake.run.mmio.phys_addr = fake.vm.shim_gpa + EMU_DOORBELL_OFFSET;
    fake.run.mmio.len = 1;
    fake.run.mmio.is_write = 1;
    return emu_cpu_handle_exit(&fake.cpu);
}

static void map_tables(void)
{
    *fake_entry(&fake, FAKE_PML4, 511) = SHIM_PDPT | P | W;
    *fake_entry(&fake, SHIM_PDPT, 511) = SHIM_DIRECTORY | P;
    *fake_entry(&fake, SHIM_DIRECTORY, 511) = 0;
}

static void test_shim_page(void)
{
    uint8_t shim[FAKE_PAGE] = {0};
    int32_t displacement;
    emu_shim_copy(shim);
    /* mov %al, displacement(%rip), and that is the doorbell. */
    CHECK(shim[0] == 0x88 && shim[1] == 0x05 && emu_shim_resume_offset() == 6);
    memcpy(&displacement, shim + 2, 4);
    CHECK(displacement + 6 == EMU_DOORBELL_OFFSET);
}

static void test_msrs(void)
{
    CHECK(wrmsr(EMU_MSR_STAR, 0x0023001000000000ull) == EMU_HANDLED && fake.run.msr.error == 0);
    CHECK(wrmsr(EMU_MSR_SFMASK, 0x257fd5) == EMU_HANDLED && fake.run.msr.error == 0);
    CHECK(rdmsr(EMU_MSR_STAR) == 0x0023001000000000ull);
    CHECK(rdmsr(EMU_MSR_SFMASK) == 0x257fd5);
    CHECK(kvm_msr(EMU_MSR_STAR) == 0x0023001000000000ull && kvm_msr(EMU_MSR_SFMASK) == 0x257fd5);
    /* SCE is kept from KVM. */
    CHECK(wrmsr(EMU_MSR_EFER, 0x501) == EMU_HANDLED && fake.run.msr.error == 0);
    CHECK(kvm_msr(EMU_MSR_EFER) == 0x500);
    fake_sregs(&fake)->efer = 0x500;
    CHECK(rdmsr(EMU_MSR_EFER) == 0x501);
    /* Values that KVM refuses raise #GP in the guest and change nothing. */
    fake.msr_refused = EMU_MSR_EFER;
    CHECK(wrmsr(EMU_MSR_EFER, 0xffff0000) == EMU_HANDLED && fake.run.msr.error == 1);
    CHECK(rdmsr(EMU_MSR_EFER) == 0x501);
    fake.msr_refused = 0;
    CHECK(wrmsr(0x10, 1) == EMU_NOT_MINE && fake.run.msr.error == 0xff);
    fake.run.exit_reason = KVM_EXIT_X86_RDMSR;
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_NOT_MINE);
}

static void test_lstar(void)
{
    CHECK(wrmsr(EMU_MSR_LSTAR, 0x0000800000000000ull) == EMU_HANDLED && fake.run.msr.error == 1);
    CHECK(!fake.cpu.syscall.shim_mapped);
    CHECK(doorbell() == EMU_NOT_MINE); /* not set up yet */
    fake_reset_cpu(&fake);
    CHECK(wrmsr(EMU_MSR_LSTAR, KERNEL_ENTRY) == EMU_FAILED); /* no tables */
    CHECK(strstr(fake.cpu.error, "page tables"));
    map_tables();
    CHECK(wrmsr(EMU_MSR_LSTAR, KERNEL_ENTRY) == EMU_HANDLED && fake.run.msr.error == 0);
    CHECK(rdmsr(EMU_MSR_LSTAR) == KERNEL_ENTRY);
    CHECK(kvm_msr(EMU_MSR_LSTAR) == EMU_SHIM_ADDRESS);
    CHECK(*fake_entry(&fake, SHIM_DIRECTORY, 511) == (fake.vm.shim_gpa | 0xe7));
    CHECK(*fake_entry(&fake, FAKE_PML4, 511) == (SHIM_PDPT | P | W | U));
    CHECK(*fake_entry(&fake, SHIM_PDPT, 511) == (SHIM_DIRECTORY | P | W | U));
    /* The next vCPU finds it there. */
    CHECK(wrmsr(EMU_MSR_LSTAR, KERNEL_ENTRY) == EMU_HANDLED);
}

static void test_unusable_tables(void)
{
    const struct guest_memory *memory = &fake.memory;
    uint64_t gpa = fake.vm.shim_gpa;
    map_tables();
    *fake_entry(&fake, SHIM_DIRECTORY, 511) = 0x200000 | P | W | EMU_PTE_LARGE;
    CHECK(!emu_shim_map(memory, FAKE_PML4, 0, gpa)); /* taken */
    CHECK(*fake_entry(&fake, SHIM_DIRECTORY, 511) == (0x200000 | P | W | EMU_PTE_LARGE));
    CHECK(*fake_entry(&fake, FAKE_PML4, 511) == (SHIM_PDPT | P | W));
    map_tables();
    *fake_entry(&fake, SHIM_PDPT, 511) = 0 | P | W | EMU_PTE_LARGE;
    CHECK(!emu_shim_map(memory, FAKE_PML4, 0, gpa)); /* 1 GiB page */
    *fake_entry(&fake, SHIM_PDPT, 511) = EMU_PTE_ADDRESS | P;
    CHECK(!emu_shim_map(memory, FAKE_PML4, 0, gpa)); /* directory outside RAM */
    *fake_entry(&fake, FAKE_PML4, 511) = EMU_PTE_ADDRESS | P;
    CHECK(!emu_shim_map(memory, FAKE_PML4, 0, gpa));
    CHECK(!emu_shim_map(memory, UINT64_MAX, 0, gpa));
    /* Five levels. */
    map_tables();
    *fake_entry(&fake, 0xa000, 511) = FAKE_PML4 | P;
    CHECK(emu_shim_map(memory, 0xa000, EMU_CR4_LA57, gpa));
    CHECK(*fake_entry(&fake, 0xa000, 511) == (FAKE_PML4 | P | W | U));
    CHECK(*fake_entry(&fake, SHIM_DIRECTORY, 511) == (gpa | 0xe7));
}

static void test_syscall(void)
{
    CHECK(doorbell() == EMU_HANDLED);
    const struct kvm_regs *regs = fake_regs(&fake);
    const struct kvm_sregs *sregs = fake_sregs(&fake);
    CHECK(regs->rip == KERNEL_ENTRY && regs->rcx == 0x401234 && regs->r11 == 0x246);
    CHECK(regs->rflags == 2); /* SFMASK clears all the rest */
    CHECK(sregs->cs.selector == 0x10 && sregs->cs.dpl == 0 && sregs->cs.l && !sregs->cs.db);
    CHECK(sregs->cs.type == 11 && sregs->cs.present && sregs->cs.limit == 0xffffffff);
    CHECK(sregs->ss.selector == 0x18 && sregs->ss.dpl == 0 && sregs->ss.type == 3);
    CHECK(fake.run.kvm_dirty_regs == (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS));
    CHECK(fake.cpu.counters[EMU_COUNTER_SYSCALL] == 1);
}

/* A program may jump to the shim; it gains nothing that SYSCALL would not give it. */
static void test_forged_flags(void)
{
    fake.cpu.syscall.sfmask = 0;
    CHECK(doorbell() == EMU_HANDLED);
    fake_sregs(&fake)->ss.dpl = 3;
    fake_regs(&fake)->rip = EMU_SHIM_ADDRESS + emu_shim_resume_offset();
    fake_regs(&fake)->r11 = UINT64_MAX;
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_HANDLED);
    /* No IOPL, no VM, VIF, VIP or RF; IF set. */
    CHECK(fake_regs(&fake)->r11 == 0x244fd7);
    CHECK(fake_regs(&fake)->rflags == 0x244fd7);
    fake.cpu.syscall.sfmask = 0x257fd5;
}

static void test_forged_doorbell(void)
{
    CHECK(doorbell() == EMU_HANDLED);
    fake_reset_cpu(&fake);
    fake.run.exit_reason = KVM_EXIT_MMIO;
    fake.run.mmio.phys_addr = fake.vm.shim_gpa + EMU_DOORBELL_OFFSET;
    fake.run.mmio.is_write = 1;
    fake_regs(&fake)->rip = EMU_SHIM_ADDRESS + emu_shim_resume_offset();
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_NOT_MINE); /* CPL 0 */
    fake_sregs(&fake)->ss.dpl = 3;
    fake_regs(&fake)->rip = 0x401000;
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_NOT_MINE); /* not from the shim */
    fake_regs(&fake)->rip = EMU_SHIM_ADDRESS + emu_shim_resume_offset();
    fake.run.mmio.is_write = 0;
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_NOT_MINE);
    fake.run.mmio.is_write = 1;
    fake.run.mmio.phys_addr++;
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_NOT_MINE);
    CHECK(fake.run.kvm_dirty_regs == 0);
    /* SYSCALL without EFER.SCE is #UD. */
    fake.cpu.syscall.sce = false;
    CHECK(doorbell() == EMU_HANDLED && fake_raised(&fake) == EMU_VECTOR_UD);
    fake.cpu.syscall.sce = true;
}

static void test_restore(void)
{
    struct emu_syscall_state saved = fake.cpu.syscall;
    fake.cpu.syscall = (struct emu_syscall_state){0};
    fake.msr_count = 0;
    CHECK(emu_cpu_restore(&fake.cpu, &saved) == 0);
    CHECK(kvm_msr(EMU_MSR_LSTAR) == EMU_SHIM_ADDRESS && kvm_msr(EMU_MSR_STAR) == saved.star);
    CHECK(rdmsr(EMU_MSR_LSTAR) == KERNEL_ENTRY && doorbell() == EMU_HANDLED);
    fake.msr_refused = EMU_MSR_STAR;
    CHECK(emu_cpu_restore(&fake.cpu, &saved) == -EINVAL);
}

int main(void)
{
    if (!CHECK(fake_init(&fake)))
        return check_finish();
    test_shim_page();
    test_msrs();
    test_lstar();
    test_unusable_tables();
    test_syscall();
    test_forged_flags();
    test_forged_doorbell();
    test_restore();
    fake_free(&fake);
    return check_finish();
}
