#include "host_probe.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpuid.h"
#include "vm.h"

#define PAGE_LENGTH 4096u

/* The guest's memory: page tables for its first 2 MiB, and one page of code. */
enum { PAGE_PML4, PAGE_PDPT, PAGE_DIRECTORY, PAGE_CODE, PAGES };

#define PTE_PRESENT_WRITABLE 3u
#define PTE_LARGE 0x80u
#define CR0_PE_NE_PG 0x80000021u
#define CR4_PAE 0x20u
#define EFER_LME_LMA 0x500u
#define OPCODE_INT3 0xcc

struct probe {
    struct vm vm;
    int vcpu_fd;
    uint8_t *memory;
    struct kvm_run *run;
};

static void fill_memory(uint8_t *memory)
{
    uint64_t entry = PAGE_PDPT * PAGE_LENGTH | PTE_PRESENT_WRITABLE;
    memcpy(memory + PAGE_PML4 * PAGE_LENGTH, &entry, sizeof entry);
    entry = PAGE_DIRECTORY * PAGE_LENGTH | PTE_PRESENT_WRITABLE;
    memcpy(memory + PAGE_PDPT * PAGE_LENGTH, &entry, sizeof entry);
    entry = PTE_LARGE | PTE_PRESENT_WRITABLE;
    memcpy(memory + PAGE_DIRECTORY * PAGE_LENGTH, &entry, sizeof entry);
    memset(memory + PAGE_CODE * PAGE_LENGTH, OPCODE_INT3, PAGE_LENGTH);
}

static bool create(struct probe *probe, const char *device_path, struct vm_error *failed)
{
    struct vm *vm = &probe->vm;
    if (!vm_create(vm, device_path, failed))
        return false;
    probe->memory =
        mmap(NULL, PAGES * PAGE_LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe->memory == MAP_FAILED)
        return vm_fail(failed, "mmap", -errno);
    fill_memory(probe->memory);
    struct kvm_userspace_memory_region slot = {
        .memory_size = PAGES * PAGE_LENGTH,
        .userspace_addr = (uintptr_t)probe->memory,
    };
    TRY_IOCTL(failed, vm->fd, KVM_SET_USER_MEMORY_REGION, &slot);
    probe->vcpu_fd = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
    if (probe->vcpu_fd < 0)
        return vm_fail(failed, "KVM_CREATE_VCPU", -errno);
    probe->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, probe->vcpu_fd, 0);
    return probe->run != MAP_FAILED || vm_fail(failed, "mmap", -errno);
}

static void destroy(struct probe *probe)
{
    if (probe->run != MAP_FAILED)
        munmap(probe->run, probe->vm.run_size);
    if (probe->vcpu_fd >= 0)
        close(probe->vcpu_fd);
    vm_destroy(&probe->vm);
    if (probe->memory != MAP_FAILED)
        munmap(probe->memory, PAGES * PAGE_LENGTH);
}

/* Must come before the registers: KVM rejects long mode state without it (cpuid.h). */
static bool set_cpuid(struct probe *probe, struct vm_error *failed)
{
    struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
    int count = kvm_get_supported_cpuid(probe->vm.kvm_fd, entries);
    if (count < 0)
        return vm_fail(failed, "KVM_GET_SUPPORTED_CPUID", count);
    int error = kvm_set_cpuid(probe->vcpu_fd, entries, (size_t)count);
    return error == 0 || vm_fail(failed, "KVM_SET_CPUID2", error);
}

/* 64-bit mode at CPL 0 without an IDT: if the CPU executes INT3, the VM shuts down. */
static bool set_registers(struct probe *probe, struct vm_error *failed)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = PAGE_CODE * PAGE_LENGTH, .rflags = 2};

    TRY_IOCTL(failed, probe->vcpu_fd, KVM_GET_SREGS, &sregs);
    sregs.cr0 = CR0_PE_NE_PG;
    sregs.cr3 = PAGE_PML4 * PAGE_LENGTH;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME_LMA;
    sregs.idt.limit = 0;
    sregs.cs = (struct kvm_segment){
        .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    sregs.ss = (struct kvm_segment){
        .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
    TRY_IOCTL(failed, probe->vcpu_fd, KVM_SET_SREGS, &sregs);
    TRY_IOCTL(failed, probe->vcpu_fd, KVM_SET_REGS, &regs);
    return true;
}

static bool run(struct probe *probe, enum kvm_host *host, struct vm_error *failed)
{
    int result;
    do {
        result = ioctl(probe->vcpu_fd, KVM_RUN, 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0)
        return vm_fail(failed, "KVM_RUN", -errno);
    bool refused = probe->run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
                   probe->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION;
    *host = refused ? KVM_HOST_PVM : KVM_HOST_HARDWARE;
    return true;
}

bool kvm_host_probe(const char *device_path, enum kvm_host *host, struct vm_error *failed)
{
    struct probe probe = {
        .vm = {.kvm_fd = -1, .fd = -1}, .vcpu_fd = -1, .memory = MAP_FAILED, .run = MAP_FAILED};

    bool probed = create(&probe, device_path, failed) && set_cpuid(&probe, failed) &&
                  set_registers(&probe, failed) && run(&probe, host, failed);
    destroy(&probe);
    return probed;
}
