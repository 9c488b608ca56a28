#include "pci.h"

#define VENDOR_VIRTIO 0x1af4
/* More capabilities than there is room for. */
#define HOPS_MAX 48

unsigned pci_virtio_function(unsigned n)
{
    unsigned device = 0;
    for (; device < PCI_DEVICES; device++)
        if (mmio_read(pci_config(device, PCI_VENDOR_ID), 2) == VENDOR_VIRTIO && n-- == 0)
            break;
    return device;
}

unsigned pci_capability(unsigned device, unsigned identifier, unsigned type)
{
    unsigned at = mmio_read(pci_config(device, PCI_CAPABILITY_LIST), 1);
    for (unsigned hops = 0; at != 0 && hops < HOPS_MAX; hops++) {
        if (mmio_read(pci_config(device, at), 1) == identifier &&
            (identifier != PCI_CAP_ID_VNDR || mmio_read(pci_config(device, at + 3), 1) == type))
            return at;
        at = mmio_read(pci_config(device, at + 1), 1);
    }
    return 0;
}
