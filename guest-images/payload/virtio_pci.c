#include "virtio_pci.h"

#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <stddef.h>

#include "heap.h"
#include "lapic.h"
#include "pci.h"

#define DEVICE_ID_BASE 0x1040
#define COMMAND (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)
#define MESSAGE_ADDRESS 0xfee00000u
#define MESSAGE_DESTINATION(lapic_id) ((lapic_id) << 12)
#define QUEUE_VECTOR 0

static const struct {
    uint16_t mmio_offset;
    uint8_t offset, width;
} common_registers[] = {
    {VIRTIO_MMIO_DEVICE_FEATURES, VIRTIO_PCI_COMMON_DF, 4},
    {VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_PCI_COMMON_DFSELECT, 4},
    {VIRTIO_MMIO_DRIVER_FEATURES, VIRTIO_PCI_COMMON_GF, 4},
    {VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_PCI_COMMON_GFSELECT, 4},
    {VIRTIO_MMIO_STATUS, VIRTIO_PCI_COMMON_STATUS, 1},
    {VIRTIO_MMIO_CONFIG_GENERATION, VIRTIO_PCI_COMMON_CFGGENERATION, 1},
    {VIRTIO_MMIO_QUEUE_SEL, VIRTIO_PCI_COMMON_Q_SELECT, 2},
    {VIRTIO_MMIO_QUEUE_NUM_MAX, VIRTIO_PCI_COMMON_Q_SIZE, 2},
    {VIRTIO_MMIO_QUEUE_NUM, VIRTIO_PCI_COMMON_Q_SIZE, 2},
    {VIRTIO_MMIO_QUEUE_READY, VIRTIO_PCI_COMMON_Q_ENABLE, 2},
    {VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_PCI_COMMON_Q_DESCLO, 4},
    {VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTIO_PCI_COMMON_Q_DESCHI, 4},
    {VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_PCI_COMMON_Q_AVAILLO, 4},
    {VIRTIO_MMIO_QUEUE_AVAIL_HIGH, VIRTIO_PCI_COMMON_Q_AVAILHI, 4},
    {VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_PCI_COMMON_Q_USEDLO, 4},
    {VIRTIO_MMIO_QUEUE_USED_HIGH, VIRTIO_PCI_COMMON_Q_USEDHI, 4},
};

#define NO_REGISTER (sizeof(common_registers) / sizeof(common_registers[0]))

static unsigned common_register(uint32_t mmio_offset)
{
    unsigned i = 0;
    while (i < NO_REGISTER && common_registers[i].mmio_offset != mmio_offset)
        i++;
    return i;
}

static uintptr_t structure(unsigned device, uintptr_t bar, unsigned type)
{
    unsigned at = pci_capability(device, PCI_CAP_ID_VNDR, type);
    return bar + mmio_read(pci_config(device, at + offsetof(struct virtio_pci_cap, offset)), 4);
}

struct virtio_pci *virtio_pci_find(unsigned n)
{
    unsigned device = pci_virtio_function(n);
    if (device == PCI_DEVICES)
        return NULL;
    uintptr_t bar =
        mmio_read(pci_config(device, PCI_BASE_ADDRESS_0), 4) & PCI_BASE_ADDRESS_MEM_MASK;
    unsigned notify = pci_capability(device, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_NOTIFY_CFG);
    unsigned msix = pci_capability(device, PCI_CAP_ID_MSIX, 0);
    struct virtio_pci *pci = heap_take(sizeof(*pci), 64);
    *pci = (struct virtio_pci){
        .device_id = mmio_read(pci_config(device, PCI_DEVICE_ID), 2) - DEVICE_ID_BASE,
        .notify_multiplier =
            mmio_read(pci_config(device, notify + offsetof(struct virtio_pci_notify_cap,
                                                           notify_off_multiplier)),
                      4),
        .common = structure(device, bar, VIRTIO_PCI_CAP_COMMON_CFG),
        .isr = structure(device, bar, VIRTIO_PCI_CAP_ISR_CFG),
        .config = structure(device, bar, VIRTIO_PCI_CAP_DEVICE_CFG),
        .notify = structure(device, bar, VIRTIO_PCI_CAP_NOTIFY_CFG),
        .msix_table =
            bar + (mmio_read(pci_config(device, msix + PCI_MSIX_TABLE), 4) & PCI_MSIX_TABLE_OFFSET),
    };
    mmio_write(pci_config(device, PCI_COMMAND), 2, COMMAND);
    mmio_write(pci_config(device, msix + PCI_MSIX_FLAGS), 2, PCI_MSIX_FLAGS_ENABLE);
    return pci;
}

uint32_t virtio_pci_read(struct virtio_pci *pci, uint32_t offset)
{
    if (offset >= VIRTIO_MMIO_CONFIG)
        return mmio_read32(pci->config + offset - VIRTIO_MMIO_CONFIG);
    if (offset == VIRTIO_MMIO_DEVICE_ID)
        return pci->device_id;
    if (offset == VIRTIO_MMIO_INTERRUPT_STATUS)
        return mmio_read(pci->isr, 1);
    unsigned i = common_register(offset);
    if (i == NO_REGISTER)
        return 0;
    return mmio_read(pci->common + common_registers[i].offset, common_registers[i].width);
}

/* Of the selected queue, before it is enabled. */
static void queue_prepare(struct virtio_pci *pci)
{
    uint32_t queue = mmio_read(pci->common + VIRTIO_PCI_COMMON_Q_SELECT, 2);
    mmio_write(pci->common + VIRTIO_PCI_COMMON_Q_MSIX, 2, QUEUE_VECTOR);
    if (queue < VIRTIO_PCI_QUEUES_MAX)
        pci->notify_queue[queue] =
            pci->notify +
            pci->notify_multiplier * mmio_read(pci->common + VIRTIO_PCI_COMMON_Q_NOFF, 2);
}

void virtio_pci_write(struct virtio_pci *pci, uint32_t offset, uint32_t value)
{
    if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
        if (value < VIRTIO_PCI_QUEUES_MAX && pci->notify_queue[value] != 0)
            mmio_write(pci->notify_queue[value], 2, value);
        return;
    }
    if (offset >= VIRTIO_MMIO_CONFIG) {
        mmio_write32(pci->config + offset - VIRTIO_MMIO_CONFIG, value);
        return;
    }
    if (offset == VIRTIO_MMIO_QUEUE_READY && value == 1)
        queue_prepare(pci);
    unsigned i = common_register(offset);
    if (i < NO_REGISTER)
        mmio_write(pci->common + common_registers[i].offset, common_registers[i].width, value);
}

static void vector_write(struct virtio_pci *pci, uint32_t field, uint32_t value)
{
    mmio_write32(pci->msix_table + QUEUE_VECTOR * PCI_MSIX_ENTRY_SIZE + field, value);
}

void virtio_pci_interrupts_enable(struct virtio_pci *pci)
{
    vector_write(pci, PCI_MSIX_ENTRY_LOWER_ADDR, MESSAGE_ADDRESS | MESSAGE_DESTINATION(lapic_id()));
    vector_write(pci, PCI_MSIX_ENTRY_UPPER_ADDR, 0);
    vector_write(pci, PCI_MSIX_ENTRY_DATA, VECTOR_DEVICE);
    vector_write(pci, PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
}

void virtio_pci_interrupts_disable(struct virtio_pci *pci)
{
    vector_write(pci, PCI_MSIX_ENTRY_VECTOR_CTRL, PCI_MSIX_ENTRY_CTRL_MASKBIT);
}
