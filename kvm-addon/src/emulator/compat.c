#include "compat.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "decode.h"
#include "fixup.h"
#include "syscall.h"

const char *emu_counter_name(unsigned counter)
{
    switch (counter) {
    case EMU_COUNTER_SYSCALL:
        return "syscall";
    case EMU_COUNTER_MSR:
        return "msr";
    case EMU_COUNTER_FAULT:
        return "fault";
    case EMU_COUNTER_REFETCH:
        return "refetch";
    default:
        return emu_insn_name((enum emu_insn_kind)counter);
    }
}

static bool has_capabilities(int vm_fd)
{
    int sync = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
    return sync > 0 && (sync & EMU_SYNC_REGS) == EMU_SYNC_REGS &&
           ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) > 0 &&
           ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_USER_SPACE_MSR) > 0 &&
           ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) > 0;
}

int emu_vm_init(struct emu_vm *vm, int vm_fd, const struct guest_memory *memory, unsigned slot,
                uint64_t shim_gpa)
{
    *vm = (struct emu_vm){
        .vm_fd = vm_fd,
        .memory = memory,
        .slot = slot,
        .shim_gpa = shim_gpa,
    };
    if (!has_capabilities(vm_fd))
        return -ENOTSUP;
    emu_xsave_layout_read(&vm->xsave);
    return emu_syscall_vm_init(vm);
}

void emu_vm_destroy(struct emu_vm *vm)
{
    emu_syscall_vm_destroy(vm);
}

int emu_cpu_init(struct emu_cpu *cpu, struct emu_vm *vm, int vcpu_fd, struct kvm_run *run)
{
    *cpu = (struct emu_cpu){
        .vm = vm,
        .state = {.run = run, .calls = &emu_state_kvm_calls, .vcpu_fd = vcpu_fd},
    };
    run->kvm_valid_regs = EMU_SYNC_REGS;
    return 0;
}

enum emu_result emu_cpu_handle_exit(struct emu_cpu *cpu)
{
    switch (cpu->state.run->exit_reason) {
    case KVM_EXIT_INTERNAL_ERROR:
        return emu_fixup(cpu);
    case KVM_EXIT_MMIO:
        return emu_syscall_doorbell(cpu);
    case KVM_EXIT_X86_RDMSR:
        return emu_syscall_rdmsr(cpu);
    case KVM_EXIT_X86_WRMSR:
        return emu_syscall_wrmsr(cpu);
    default:
        return EMU_NOT_MINE;
    }
}
