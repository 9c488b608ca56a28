#include "pvm_compat.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "pvm_fixup.h"
#include "pvm_syscall.h"

const char *pvm_counter_name(unsigned counter)
{
    switch (counter) {
    case PVM_COUNTER_SYSCALL:
        return "syscall";
    case PVM_COUNTER_MSR:
        return "msr";
    case PVM_COUNTER_FAULT:
        return "fault";
    case PVM_COUNTER_REFETCH:
        return "refetch";
    default:
        return pvm_insn_name((enum pvm_insn_kind)counter);
    }
}

static bool has_capabilities(int vm_fd)
{
    int sync = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
    return sync > 0 && (sync & PVM_SYNC_REGS) == PVM_SYNC_REGS &&
           ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) > 0 &&
           ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_USER_SPACE_MSR) > 0 &&
           ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) > 0;
}

int pvm_vm_init(struct pvm_vm *vm, int vm_fd, const struct guest_memory *memory, unsigned slot,
                uint64_t shim_gpa)
{
    *vm = (struct pvm_vm){
        .vm_fd = vm_fd,
        .memory = memory,
        .slot = slot,
        .shim_gpa = shim_gpa,
    };
    if (!has_capabilities(vm_fd))
        return -ENOTSUP;
    pvm_xsave_layout_read(&vm->xsave);
    return pvm_syscall_vm_init(vm);
}

void pvm_vm_destroy(struct pvm_vm *vm)
{
    pvm_syscall_vm_destroy(vm);
}

int pvm_cpu_init(struct pvm_cpu *cpu, struct pvm_vm *vm, int vcpu_fd, struct kvm_run *run)
{
    *cpu = (struct pvm_cpu){
        .vm = vm,
        .state = {.run = run, .calls = &pvm_state_kvm_calls, .vcpu_fd = vcpu_fd},
    };
    run->kvm_valid_regs = PVM_SYNC_REGS;
    return 0;
}

enum pvm_result pvm_cpu_handle_exit(struct pvm_cpu *cpu)
{
    switch (cpu->state.run->exit_reason) {
    case KVM_EXIT_INTERNAL_ERROR:
        return pvm_fixup(cpu);
    case KVM_EXIT_MMIO:
        return pvm_syscall_doorbell(cpu);
    case KVM_EXIT_X86_RDMSR:
        return pvm_syscall_rdmsr(cpu);
    case KVM_EXIT_X86_WRMSR:
        return pvm_syscall_wrmsr(cpu);
    default:
        return PVM_NOT_MINE;
    }
}
