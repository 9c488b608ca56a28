#include "host_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

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
    int kvm_fd;
    int vm_fd;
    int vcpu_fd;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_size;
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

static int create(struct probe *probe, const char *device_path)
{
    probe->kvm_fd = open(device_path, O_RDWR | O_CLOEXEC);
    if (probe->kvm_fd < 0)
        return -errno;
    int run_size = ioctl(probe->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof *probe->run)
        return run_size < 0 ? -errno : -EINVAL;
    probe->run_size = (size_t)run_size;
    probe->vm_fd = kvm_create_vm(probe->kvm_fd);
    if (probe->vm_fd < 0)
        return probe->vm_fd;
    probe->memory =
        mmap(NULL, PAGES * PAGE_LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe->memory == MAP_FAILED)
        return -errno;
    fill_memory(probe->memory);
    struct kvm_userspace_memory_region slot = {
        .memory_size = PAGES * PAGE_LENGTH,
        .userspace_addr = (uintptr_t)probe->memory,
    };
    if (ioctl(probe->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
        return -errno;
    probe->vcpu_fd = ioctl(probe->vm_fd, KVM_CREATE_VCPU, 0);
    if (probe->vcpu_fd < 0)
        return -errno;
    probe->run = mmap(NULL, probe->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, probe->vcpu_fd, 0);
    return probe->run == MAP_FAILED ? -errno : 0;
}

static void destroy(struct probe *probe)
{
    if (probe->run != MAP_FAILED)
        munmap(probe->run, probe->run_size);
    if (probe->vcpu_fd >= 0)
        close(probe->vcpu_fd);
    if (probe->vm_fd >= 0)
        close(probe->vm_fd);
    if (probe->memory != MAP_FAILED)
        munmap(probe->memory, PAGES * PAGE_LENGTH);
    if (probe->kvm_fd >= 0)
        close(probe->kvm_fd);
}

/* 64-bit mode at CPL 0, and no IDT: INT3 can only end in a shutdown, if the CPU executes it. */
static int set_registers(struct probe *probe)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = PAGE_CODE * PAGE_LENGTH, .rflags = 2};

    if (ioctl(probe->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return -errno;
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
    if (ioctl(probe->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
        ioctl(probe->vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return -errno;
    return 0;
}

static int run(struct probe *probe)
{
    int result;
    do {
        result = ioctl(probe->vcpu_fd, KVM_RUN, 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0)
        return -errno;
    bool refused = probe->run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
                   probe->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION;
    return refused ? KVM_HOST_PVM : KVM_HOST_HARDWARE;
}

int kvm_host_probe(const char *device_path)
{
    struct probe probe = {
        .kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1, .memory = MAP_FAILED, .run = MAP_FAILED};

    int result = create(&probe, device_path);
    if (result == 0)
        result = set_registers(&probe);
    if (result == 0)
        result = run(&probe);
    destroy(&probe);
    return result;
}
