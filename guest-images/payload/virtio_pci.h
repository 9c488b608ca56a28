/*
 * A virtio device on PCI (virtio 1.2, 4.1), with the registers of virtio-mmio: each is named by the
 * offset that it has there. Interrupts are MSI-X's: all queues have vector 0.
 */
#ifndef PAYLOAD_VIRTIO_PCI_H
#define PAYLOAD_VIRTIO_PCI_H

#include <stdint.h>

#define VIRTIO_PCI_QUEUES_MAX 16

struct virtio_pci {
    uint32_t device_id, notify_multiplier;
    /* Addresses of the structures in BAR 0. */
    uintptr_t common, isr, config, notify, msix_table;
    /* Where queues are notified that are ready. */
    uintptr_t notify_queue[VIRTIO_PCI_QUEUES_MAX];
};

/* Enables the n-th function of virtio (from 0), with all vectors masked; NULL: there is none. */
struct virtio_pci *virtio_pci_find(unsigned n);

/* Registers that PCI has not read 0. */
uint32_t virtio_pci_read(struct virtio_pci *pci, uint32_t offset);
void virtio_pci_write(struct virtio_pci *pci, uint32_t offset, uint32_t value);

/* Sends the interrupts of all queues to this CPU, as VECTOR_DEVICE. */
void virtio_pci_interrupts_enable(struct virtio_pci *pci);
void virtio_pci_interrupts_disable(struct virtio_pci *pci);

#endif
