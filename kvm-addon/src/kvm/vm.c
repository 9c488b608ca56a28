#include "vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdlib.h>
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
    /* The API version has been 12 since Linux 2.6.22. */
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

/* Slot numbers are region indices. Calling it again with other `flags` changes only the flags. */
static bool set_memory(struct vm *vm, const struct guest_memory *memory, uint32_t flags,
                       struct vm_error *failed)
{
    for (unsigned i = 0; i < memory->count; i++) {
        struct kvm_userspace_memory_region slot = {
            .slot = i,
            .flags = memory->regions[i].read_only ? flags | KVM_MEM_READONLY : flags,
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
    free(vm->messages);
    vm->messages = NULL;
    vm->message_count = 0;
}

int vm_bind_interrupt(struct vm *vm, int event_fd, uint32_t gsi)
{
    struct kvm_irqfd irqfd = {.fd = (uint32_t)event_fd, .gsi = gsi};
    return ioctl(vm->fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

static void add_pin(struct kvm_irq_routing *table, uint32_t gsi, uint32_t irqchip, uint32_t pin)
{
    table->entries[table->nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_IRQCHIP,
        .u.irqchip = {.irqchip = irqchip, .pin = pin},
    };
}

/* The pins as KVM_CREATE_IRQCHIP routes them: the PICs have the first 16. */
static void add_pins(struct kvm_irq_routing *table)
{
    for (uint32_t pin = 0; pin < VM_GSI_COUNT; pin++) {
        if (pin < 8)
            add_pin(table, pin, KVM_IRQCHIP_PIC_MASTER, pin);
        else if (pin < 16)
            add_pin(table, pin, KVM_IRQCHIP_PIC_SLAVE, pin - 8);
        add_pin(table, pin, KVM_IRQCHIP_IOAPIC, pin);
    }
}

static int set_routes(struct vm *vm)
{
    size_t most = 2 * VM_GSI_COUNT + vm->message_count;
    struct kvm_irq_routing *table = calloc(1, sizeof *table + most * sizeof *table->entries);
    if (!table)
        return -ENOMEM;
    add_pins(table);
    for (unsigned i = 0; i < vm->message_count; i++) {
        const struct vm_message *message = &vm->messages[i];
        if (!message->set)
            continue;
        table->entries[table->nr++] = (struct kvm_irq_routing_entry){
            .gsi = VM_GSI_COUNT + i,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = {.address_lo = (uint32_t)message->address,
                      .address_hi = (uint32_t)(message->address >> 32),
                      .data = message->data},
        };
    }
    int error = ioctl(vm->fd, KVM_SET_GSI_ROUTING, table) < 0 ? -errno : 0;
    free(table);
    return error;
}

int vm_add_message(struct vm *vm)
{
    if (vm->message_count == VM_MESSAGES_MAX)
        return -ENOSPC;
    size_t count = vm->message_count + 1;
    struct vm_message *messages = realloc(vm->messages, count * sizeof *messages);
    if (!messages)
        return -ENOMEM;
    messages[vm->message_count] = (struct vm_message){.set = false};
    vm->messages = messages;
    return (int)(VM_GSI_COUNT + vm->message_count++);
}

int vm_set_message(struct vm *vm, uint32_t gsi, const struct vm_message *message)
{
    if (gsi < VM_GSI_COUNT || gsi - VM_GSI_COUNT >= vm->message_count)
        return -EINVAL;
    struct vm_message *own = &vm->messages[gsi - VM_GSI_COUNT];
    struct vm_message before = *own;
    *own = message ? *message : (struct vm_message){.set = false};
    int error = set_routes(vm);
    if (error < 0)
        *own = before;
    return error;
}

static int change_kick(struct vm *vm, struct kvm_ioeventfd kick)
{
    kick.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
    return ioctl(vm->fd, KVM_IOEVENTFD, &kick) < 0 ? -errno : 0;
}

int vm_bind_kick(struct vm *vm, int event_fd, uint64_t gpa, uint32_t length, uint64_t value)
{
    return change_kick(
        vm, (struct kvm_ioeventfd){.datamatch = value, .addr = gpa, .len = length, .fd = event_fd});
}

int vm_unbind_kick(struct vm *vm, int event_fd, uint64_t gpa, uint32_t length, uint64_t value)
{
    return change_kick(vm, (struct kvm_ioeventfd){.datamatch = value,
                                                  .addr = gpa,
                                                  .len = length,
                                                  .fd = event_fd,
                                                  .flags = KVM_IOEVENTFD_FLAG_DEASSIGN});
}
