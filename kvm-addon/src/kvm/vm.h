/* A KVM virtual machine: its file descriptors, memory slots and in-kernel interrupt controllers. */
#ifndef TSVM_VM_H
#define TSVM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "../memory/guest_memory.h"
#include "vm_error.h"

/* Address for the pages that KVM uses on VT-x in real mode, in the device hole. */
#define VM_TSS_GPA 0xfffbd000u
#define VM_IDENTITY_MAP_GPA 0xffffc000u

/* Interrupt pins of the in-kernel IOAPIC: GSIs 0 to 23. Message-signalled interrupts follow. */
#define VM_GSI_COUNT 24
#define VM_MESSAGES_MAX 1024

/* What a device writes to raise a message-signalled interrupt (Intel SDM volume 3, 11.11). */
struct vm_message {
    bool set; /* false: the interrupt goes nowhere */
    uint64_t address;
    uint32_t data;
};

struct vm {
    int kvm_fd;
    int fd;
    size_t run_size; /* size of the mapping of a vCPU's struct kvm_run, bytes */
    struct vm_message *messages;
    unsigned message_count;
};

/*
 * KVM_CREATE_VM, repeated while it fails with EINTR, which any signal can cause, even with
 * SA_RESTART. Returns the VM's file descriptor or -errno.
 */
int kvm_create_vm(int kvm_fd);

/*
 * Opens the device and creates the VM. On failure closes everything, sets `failed` and returns
 * false.
 */
bool vm_create(struct vm *vm, const char *device_path, struct vm_error *failed);
void vm_destroy(struct vm *vm);

/*
 * Sets up the VM's memory, then its interrupt controllers (PIC, IOAPIC) and PIT. Set the MSR filter
 * before and create the vCPUs after it. The order matters, because KVM waits for an RCU grace
 * period when it replaces the filter or a memory slot: a filter set after the slots takes up to 20
 * ms, a slot set after the interrupt controllers 6 ms. In this order each step takes less than 0.1
 * ms.
 */
bool vm_furnish(struct vm *vm, const struct guest_memory *memory, struct vm_error *failed);

/* Starts or stops KVM's log of the pages that vCPUs write. */
bool vm_set_dirty_log(struct vm *vm, const struct guest_memory *memory, bool logs,
                      struct vm_error *failed);
/*
 * KVM_GET_DIRTY_LOG: stores one bit per page of a region in `bitmap`, set for pages written since
 * the last call, and clears the log. Returns 0 or -errno.
 */
int vm_take_dirty(struct vm *vm, unsigned region, uint64_t *bitmap);

/* The first memory slot that vm_furnish() leaves free. */
#define VM_FIRST_FREE_SLOT GUEST_MEMORY_REGIONS_MAX

/*
 * KVM_IRQFD: each signal of `event_fd` is one edge on `gsi`, a pin or one that vm_add_message() has
 * given. Returns 0 or -errno.
 */
int vm_bind_interrupt(struct vm *vm, int event_fd, uint32_t gsi);

/* A GSI for a message-signalled interrupt, which goes nowhere yet. Returns it, -ENOSPC or -ENOMEM.
 */
int vm_add_message(struct vm *vm);
/*
 * KVM_SET_GSI_ROUTING: the GSI of vm_add_message() sends this message from now on; NULL: none. May
 * take some milliseconds, while KVM waits for the readers of the old table. Returns 0 or -errno.
 */
int vm_set_message(struct vm *vm, uint32_t gsi, const struct vm_message *message);

/* KVM_IOEVENTFD for MMIO: a write of `value`, `length` bytes wide, signals `event_fd`. */
int vm_bind_kick(struct vm *vm, int event_fd, uint64_t gpa, uint32_t length, uint64_t value);
/* Undoes vm_bind_kick() with the same arguments. Returns 0, -ENOENT or another -errno. */
int vm_unbind_kick(struct vm *vm, int event_fd, uint64_t gpa, uint32_t length, uint64_t value);

#endif
