/* The interrupt of a virtio device, by the I/O APIC or MSI-X, taken by this CPU. */
#ifndef PAYLOAD_DEVICE_INTERRUPT_H
#define PAYLOAD_DEVICE_INTERRUPT_H

#include "interrupts.h"
#include "virtio_device.h"

/* From now on, each interrupt of the device increments device_interrupt_count. */
void device_interrupt_enable(const struct virtio_device *device);
void device_interrupt_disable(const struct virtio_device *device);

/* Acknowledges the interrupt to the device, which MSI-X does not need. */
void device_interrupt_acknowledge(const struct virtio_device *device);

/* Sleeps until device_interrupt_count differs from `seen`. */
void device_interrupt_wait(uint32_t seen);

#endif
