#include "syscall.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "shim.h"
#include "walk.h"

#define PAGE_LENGTH 4096u

/* RFLAGS bits that code at CPL 3 can set, and so the only ones that SYSCALL can store in R11. */
#define USER_RFLAGS                                                                                \
    (EMU_RFLAGS_CF | EMU_RFLAGS_PF | EMU_RFLAGS_AF | EMU_RFLAGS_ZF | EMU_RFLAGS_SF |               \
     EMU_RFLAGS_TF | EMU_RFLAGS_DF | EMU_RFLAGS_OF | EMU_RFLAGS_NT | EMU_RFLAGS_AC |               \
     EMU_RFLAGS_ID)

/* Segment types (Intel SDM volume 3, 3.4.5.1). */
#define TYPE_DATA_WRITABLE 3
#define TYPE_CODE_READABLE 11

static int set_filter(int vm_fd)
{
    uint8_t bitmap = 0xff;
    struct kvm_enable_cap exits = {
        .cap = KVM_CAP_X86_USER_SPACE_MSR,
        .args = {KVM_MSR_EXIT_REASON_FILTER},
    };
    struct kvm_msr_filter filter = {
        .flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
        .ranges[0] =
            {
                .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
                .base = EMU_MSR_EFER,
                .nmsrs = 8,
                .bitmap = &bitmap,
            },
    };

    /* KVM does not handle MSRs whose bit is clear. */
    bitmap &= (uint8_t) ~(1u << (EMU_MSR_STAR - EMU_MSR_EFER));
    bitmap &= (uint8_t) ~(1u << (EMU_MSR_LSTAR - EMU_MSR_EFER));
    bitmap &= (uint8_t) ~(1u << (EMU_MSR_SFMASK - EMU_MSR_EFER));
    bitmap &= (uint8_t)~1u;
    if (ioctl(vm_fd, KVM_ENABLE_CAP, &exits) < 0)
        return -errno;
    return ioctl(vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0 ? -errno : 0;
}

static int add_slot(struct emu_vm *vm)
{
    struct kvm_userspace_memory_region slot = {
        .slot = vm->slot,
        .flags = KVM_MEM_READONLY,
        .guest_phys_addr = vm->shim_gpa,
        .memory_size = PAGE_LENGTH,
        .userspace_addr = (uintptr_t)vm->shim_page,
    };
    return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

int emu_syscall_vm_init(struct emu_vm *vm)
{
    if (vm->shim_gpa % EMU_SHIM_GPA_ALIGNMENT || vm->shim_gpa & ~EMU_PTE_ADDRESS)
        return -EINVAL;
    int error = set_filter(vm->vm_fd);
    if (error < 0)
        return error;
    vm->shim_page =
        mmap(NULL, PAGE_LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vm->shim_page == MAP_FAILED)
        return -errno;
    emu_shim_copy(vm->shim_page);
    error = add_slot(vm);
    if (error < 0)
        munmap(vm->shim_page, PAGE_LENGTH);
    return error;
}

void emu_syscall_vm_destroy(struct emu_vm *vm)
{
    munmap(vm->shim_page, PAGE_LENGTH);
}

/* KVM_SET_MSRS for an MSR write of the guest. A value that KVM rejects raises #GP in the guest. */
static bool set_msr(struct emu_cpu *cpu, uint32_t index, uint64_t value)
{
    return cpu->state.calls->set_msr(&cpu->state, index, value) == 0;
}

static bool is_canonical(struct emu_cpu *cpu, uint64_t address)
{
    unsigned unused = emu_sregs(&cpu->state)->cr4 & EMU_CR4_LA57 ? 7 : 16;
    return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

static enum emu_result write_lstar(struct emu_cpu *cpu, uint64_t value)
{
    struct emu_syscall_state *syscall = &cpu->syscall;
    const struct kvm_sregs *sregs = emu_sregs(&cpu->state);

    if (!is_canonical(cpu, value) || !set_msr(cpu, EMU_MSR_LSTAR, EMU_SHIM_ADDRESS)) {
        cpu->state.run->msr.error = 1;
        return EMU_HANDLED;
    }
    syscall->lstar = value;
    if (!emu_shim_map(cpu->vm->memory, sregs->cr3, sregs->cr4, cpu->vm->shim_gpa)) {
        snprintf(cpu->error, sizeof cpu->error,
                 "SYSCALL on kvm-pvm needs the last 2 MiB of the guest's address space unused and "
                 "the page tables above it present, which is not so in the page table at 0x%llx",
                 (unsigned long long)sregs->cr3);
        return EMU_FAILED;
    }
    syscall->shim_mapped = true;
    return EMU_HANDLED;
}

enum emu_result emu_syscall_wrmsr(struct emu_cpu *cpu)
{
    struct kvm_run *run = cpu->state.run;
    uint64_t value = run->msr.data;

    switch (run->msr.index) {
    case EMU_MSR_EFER:
        run->msr.error = !set_msr(cpu, EMU_MSR_EFER, value & ~EMU_EFER_SCE);
        if (!run->msr.error)
            cpu->syscall.sce = value & EMU_EFER_SCE;
        break;
    case EMU_MSR_STAR:
        /* KVM needs it as well, to emulate SYSRET. */
        run->msr.error = !set_msr(cpu, EMU_MSR_STAR, value);
        if (!run->msr.error)
            cpu->syscall.star = value;
        break;
    case EMU_MSR_SFMASK:
        /* KVM needs it as well: it masks interrupts and single-stepping while the shim runs. */
        run->msr.error = !set_msr(cpu, EMU_MSR_SFMASK, value);
        if (!run->msr.error)
            cpu->syscall.sfmask = value;
        break;
    case EMU_MSR_LSTAR:
        run->msr.error = 0;
        cpu->counters[EMU_COUNTER_MSR]++;
        return write_lstar(cpu, value);
    default:
        return EMU_NOT_MINE;
    }
    cpu->counters[EMU_COUNTER_MSR]++;
    return EMU_HANDLED;
}

enum emu_result emu_syscall_rdmsr(struct emu_cpu *cpu)
{
    struct kvm_run *run = cpu->state.run;
    const struct emu_syscall_state *syscall = &cpu->syscall;

    switch (run->msr.index) {
    case EMU_MSR_EFER:
        run->msr.data = emu_sregs(&cpu->state)->efer | (syscall->sce ? EMU_EFER_SCE : 0);
        break;
    case EMU_MSR_STAR:
        run->msr.data = syscall->star;
        break;
    case EMU_MSR_LSTAR:
        run->msr.data = syscall->lstar;
        break;
    case EMU_MSR_SFMASK:
        run->msr.data = syscall->sfmask;
        break;
    default:
        return EMU_NOT_MINE;
    }
    run->msr.error = 0;
    cpu->counters[EMU_COUNTER_MSR]++;
    return EMU_HANDLED;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = selector,
        .type = type,
        .present = 1,
        .s = 1,
        .g = 1,
        .l = type == TYPE_CODE_READABLE,
        .db = type != TYPE_CODE_READABLE,
    };
}

/* Performs the rest of SYSCALL's operation (Intel SDM volume 2). RCX is already set. */
static void enter_kernel(struct emu_cpu *cpu)
{
    const struct emu_syscall_state *syscall = &cpu->syscall;
    struct kvm_regs *regs = emu_regs(&cpu->state);
    struct kvm_sregs *sregs = emu_sregs(&cpu->state);
    uint16_t selector = (syscall->star >> 32) & 0xfffc;

    sregs->cs = flat_segment(selector, TYPE_CODE_READABLE);
    sregs->ss = flat_segment((uint16_t)(selector + 8), TYPE_DATA_WRITABLE);
    /* A program can jump to the shim with any value in R11. */
    regs->r11 = (regs->r11 & USER_RFLAGS) | EMU_RFLAGS_IF | EMU_RFLAGS_FIXED;
    regs->rflags = (regs->r11 & ~syscall->sfmask) | EMU_RFLAGS_FIXED;
    regs->rip = syscall->lstar;
    emu_dirty(&cpu->state, KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS);
}

enum emu_result emu_syscall_doorbell(struct emu_cpu *cpu)
{
    const struct kvm_run *run = cpu->state.run;

    if (run->mmio.phys_addr != cpu->vm->shim_gpa + EMU_DOORBELL_OFFSET || !run->mmio.is_write ||
        !cpu->syscall.shim_mapped || !emu_is_user(&cpu->state) ||
        emu_regs(&cpu->state)->rip != EMU_SHIM_ADDRESS + emu_shim_resume_offset())
        return EMU_NOT_MINE;
    if (!cpu->syscall.sce) {
        emu_raise(&cpu->state, EMU_VECTOR_UD);
        return EMU_HANDLED;
    }
    enter_kernel(cpu);
    cpu->counters[EMU_COUNTER_SYSCALL]++;
    return EMU_HANDLED;
}

int emu_cpu_restore(struct emu_cpu *cpu, const struct emu_syscall_state *saved)
{
    const struct emu_state_calls *calls = cpu->state.calls;

    int error = calls->set_msr(&cpu->state, EMU_MSR_STAR, saved->star);
    if (error == 0)
        error = calls->set_msr(&cpu->state, EMU_MSR_SFMASK, saved->sfmask);
    if (error == 0 && saved->shim_mapped)
        error = calls->set_msr(&cpu->state, EMU_MSR_LSTAR, EMU_SHIM_ADDRESS);
    if (error == 0)
        cpu->syscall = *saved;
    return error;
}
