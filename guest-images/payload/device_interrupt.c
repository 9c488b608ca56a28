#include "device_interrupt.h"

#include "cpu.h"
#include "lapic.h"

#define IOAPIC_BASE 0xfec00000
#define IOAPIC_SELECT 0x00
#define IOAPIC_WINDOW 0x10
#define IOAPIC_REDIRECTION(pin) (0x10 + 2 * (pin))
#define IOAPIC_MASKED 0x10000

#define PIC1_DATA 0x21
#define PIC2_DATA 0xa1

static void ioapic_write(uint32_t index, uint32_t value)
{
    mmio_write32(IOAPIC_BASE + IOAPIC_SELECT, index);
    mmio_write32(IOAPIC_BASE + IOAPIC_WINDOW, value);
}

void device_interrupt_enable(const struct virtio_device *device)
{
    outb(PIC1_DATA, 0xff);
    outb(PIC2_DATA, 0xff);
    lapic_write(LAPIC_SPURIOUS, LAPIC_SPURIOUS_ENABLE);
    device_interrupt_count = 0;
    interrupts_enable(true);
    if (device->pci) {
        virtio_pci_interrupts_enable(device->pci);
        return;
    }
    ioapic_write(IOAPIC_REDIRECTION(device->irq) + 1, lapic_id() << 24);
    ioapic_write(IOAPIC_REDIRECTION(device->irq), VECTOR_DEVICE);
}

void device_interrupt_disable(const struct virtio_device *device)
{
    interrupts_enable(false);
    if (device->pci)
        virtio_pci_interrupts_disable(device->pci);
    else
        ioapic_write(IOAPIC_REDIRECTION(device->irq), IOAPIC_MASKED);
}

void device_interrupt_acknowledge(const struct virtio_device *device)
{
    if (!device->pci)
        virtio_write(device, VIRTIO_MMIO_INTERRUPT_ACK,
                     virtio_read(device, VIRTIO_MMIO_INTERRUPT_STATUS));
}

/* Between STI and HLT no interrupt is taken: none is missed. */
static void cpl0_wait(uint64_t seen, struct interrupt_frame *frame)
{
    (void)frame;
    while (device_interrupt_count == (uint32_t)seen)
        __asm__ volatile("sti; hlt; cli" ::: "memory");
}

void device_interrupt_wait(uint32_t seen)
{
    cpl0_call(cpl0_wait, seen);
}
