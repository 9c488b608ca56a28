/* Functions of PCI's bus 0, whose configuration space is memory (ECAM). */
#ifndef PAYLOAD_PCI_H
#define PAYLOAD_PCI_H

#include <linux/pci_regs.h>
#include <stdint.h>

#include "cpu.h"

#define PCI_DEVICES 32

/* The address of a register of function 0 of a device. */
static inline uintptr_t pci_config(unsigned device, unsigned at)
{
    return 0xe0000000 + (device << 15) + at;
}

/* The device that has the n-th function of virtio (from 0), or PCI_DEVICES. */
unsigned pci_virtio_function(unsigned n);
/* Offset of the first capability with this identifier, and for virtio's of this type, or 0. */
unsigned pci_capability(unsigned device, unsigned identifier, unsigned type);

#endif
