#include "vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <unistd.h>

int kvm_create_vm(int kvm_fd)
{
    int fd;
    do {
        fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

static bool open_device(struct vm *vm, const char *device_path, struct vm_error *failed)
{
    vm->kvm_fd = open(device_path, O_RDWR | O_CLOEXEC);
    if (vm->kvm_fd < 0)
        return vm_fail(failed, "open", -errno);
    /* Any other number is another API: it has been 12 since Linux 2.6.22. */
    if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return vm_fail(failed, "KVM_GET_API_VERSION", -ENOTTY);
    int run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof(struct kvm_run))
        return vm_fail(failed, "KVM_GET_VCPU_MMAP_SIZE", run_size < 0 ? -errno : -EINVAL);
    vm->run_size = (size_t)run_size;
    vm->fd = kvm_create_vm(vm->kvm_fd);
    if (vm->fd < 0)
        return vm_fail(failed, "KVM_CREATE_VM", vm->fd);
    return true;
}

/* Slots are numbered like the regions. With `flags` again, a slot changes only these. */
static bool set_memory(struct vm *vm, const struct guest_memory *memory, uint32_t flags,
                       struct vm_error *failed)
{
    for (unsigned i = 0; i < memory->count; i++) {
        struct kvm_userspace_memory_region slot = {
            .slot = i,
            .flags = flags,
            .guest_phys_addr = memory->regions[i].gpa,
            .memory_size = memory->regions[i].size,
            .userspace_addr = (uintptr_t)memory->regions[i].hva,
        };
        TRY_IOCTL(failed, vm->fd, KVM_SET_USER_MEMORY_REGION, &slot);
    }
    return true;
}

static bool add_chips(struct vm *vm, struct vm_error *failed)
{
    uint64_t identity_map = VM_IDENTITY_MAP_GPA;
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    TRY_IOCTL(failed, vm->fd, KVM_SET_TSS_ADDR, VM_TSS_GPA);
    TRY_IOCTL(failed, vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    TRY_IOCTL(failed, vm->fd, KVM_CREATE_IRQCHIP, 0);
    TRY_IOCTL(failed, vm->fd, KVM_CREATE_PIT2, &pit);
    return true;
}

bool vm_create(struct vm *vm, const char *device_path, struct vm_error *failed)
{
    *vm = (struct vm){.kvm_fd = -1, .fd = -1};
    if (open_device(vm, device_path, failed))
        return true;
    vm_destroy(vm);
    return false;
}

bool vm_furnish(struct vm *vm, const struct guest_memory *memory, struct vm_error *failed)
{
    return set_memory(vm, memory, 0, failed) && add_chips(vm, failed);
}

bool vm_set_dirty_log(struct vm *vm, const struct guest_memory *memory, bool logs,
                      struct vm_error *failed)
{
    return set_memory(vm, memory, logs ? KVM_MEM_LOG_DIRTY_PAGES : 0, failed);
}

int vm_take_dirty(struct vm *vm, unsigned region, uint64_t *bitmap)
{
    struct kvm_dirty_log log = {.slot = region, .dirty_bitmap = bitmap};
    return ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log) < 0 ? -errno : 0;
}

void vm_destroy(struct vm *vm)
{
    if (vm->fd >= 0)
        close(vm->fd);
    if (vm->kvm_fd >= 0)
        close(vm->kvm_fd);
    vm->fd = vm->kvm_fd = -1;
}

int vm_bind_interrupt(struct vm *vm, int event_fd, uint32_t gsi)
{
    struct kvm_irqfd irqfd = {.fd = (uint32_t)event_fd, .gsi = gsi};
    return ioctl(vm->fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

int vm_bind_kick(struct vm *vm, int event_fd, uint64_t gpa, uint32_t length, uint64_t value)
{
    struct kvm_ioeventfd kick = {
        .datamatch = value,
        .addr = gpa,
        .len = length,
        .fd = event_fd,
        .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
    };
    return ioctl(vm->fd, KVM_IOEVENTFD, &kick) < 0 ? -errno : 0;
}
