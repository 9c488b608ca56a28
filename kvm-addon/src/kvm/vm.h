/* A KVM virtual machine: its file descriptors, memory slots and in-kernel interrupt controllers. */
#ifndef TSVM_VM_H
#define TSVM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "../memory/guest_memory.h"
#include "vm_error.h"

/* Where KVM may put the pages that VT-x needs in real mode; both lie in the device hole. */
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
    size_t run_size; /* bytes of a vCPU's struct kvm_run mapping */
    struct vm_message *messages;
    unsigned message_count;
};

/*
 * KVM_CREATE_VM, again when a signal interrupts it, which any does, be its handler marked
 * SA_RESTART. Returns the VM's file descriptor or -errno.
 */
int kvm_create_vm(int kvm_fd);

/*
 * Opens the device and creates the VM. On failure everything is closed again, the answer is false
 * and `failed` says why.
 */
bool vm_create(struct vm *vm, const char *device_path, struct vm_error *failed);
void vm_destroy(struct vm *vm);

/*
 * Gives the VM its memory, then its interrupt controllers (PIC, IOAPIC) and PIT. The vCPUs come
 * after it, and before it what changes the VM's MSR filter: the order matters. KVM lets a change of
 * the filter or the slots wait for the readers of what was replaced; after a slot has changed that
 * takes the filter up to 20 ms, after the chips have put themselves on the buses a slot 6 ms. In
 * this order nothing takes 0.1 ms.
 */
bool vm_furnish(struct vm *vm, const struct guest_memory *memory, struct vm_error *failed);

/* Begins or ends to log which pages the vCPUs write by KVM. */
bool vm_set_dirty_log(struct vm *vm, const struct guest_memory *memory, bool logs,
                      struct vm_error *failed);
/*
 * KVM_GET_DIRTY_LOG of a region: `bitmap` becomes a bit for each page written since the last call,
 * which KVM forgets. Returns 0 or -errno.
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

/* KVM_IOEVENTFD on the memory bus: a write of `value`, `length` bytes wide, signals `event_fd`. */
int vm_bind_kick(struct vm *vm, int event_fd, uint64_t gpa, uint32_t length, uint64_t value);
/* Undoes vm_bind_kick() with the same arguments. Returns 0, -ENOENT or another -errno. */
int vm_unbind_kick(struct vm *vm, int event_fd, uint64_t gpa, uint32_t length, uint64_t value);

#endif
