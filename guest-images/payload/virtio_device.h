/*
 * The driver's side of a virtio device: virtio-mmio, version 2 (virtio 1.2, 4.2), whose register
 * numbers also name those of a device on PCI.
 */
#ifndef PAYLOAD_VIRTIO_DEVICE_H
#define PAYLOAD_VIRTIO_DEVICE_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <stdbool.h>
#include <stdint.h>

#include "cpu.h"
#include "virtio_pci.h"

#define VIRTIO_MMIO_MAGIC 0x74726976
#define VIRTIO_DEVICES_MAX 32
#define VIRTIO_FEATURE(bit) (1ull << (bit))

struct virtio_device {
    uintptr_t base;
    uint32_t irq, id;
    /* NULL: the device is on MMIO. */
    struct virtio_pci *pci;
    /* The negotiated features. */
    uint64_t features;
};

/* Probes every virtio_mmio.device= on the command line, and PCI if that has the word pci. */
void virtio_devices_find(void);
/* The n-th device (from 0) with this VIRTIO_ID_*, or NULL. */
struct virtio_device *virtio_device_by_id(uint32_t id, unsigned n);

static inline uint32_t virtio_read(const struct virtio_device *device, uint32_t offset)
{
    return device->pci ? virtio_pci_read(device->pci, offset) : mmio_read32(device->base + offset);
}

static inline void virtio_write(const struct virtio_device *device, uint32_t offset, uint32_t value)
{
    if (device->pci)
        virtio_pci_write(device->pci, offset, value);
    else
        mmio_write32(device->base + offset, value);
}

/* Writes a pair of registers, the lower half first. */
static inline void virtio_write64(const struct virtio_device *device, uint32_t offset,
                                  uint64_t value)
{
    virtio_write(device, offset, (uint32_t)value);
    virtio_write(device, offset + 4, (uint32_t)(value >> 32));
}

/* The largest number that the registers of a queue's number and size can hold. */
static inline uint32_t virtio_queue_register_max(const struct virtio_device *device)
{
    return device->pci ? UINT16_MAX : UINT32_MAX;
}

uint64_t virtio_offered_features(const struct virtio_device *device);
void virtio_features_write(const struct virtio_device *device, uint64_t features);
/* A field of 8 bytes in the device's configuration space. */
uint64_t virtio_config_read64(const struct virtio_device *device, uint32_t offset);

/* Writes status 0 and waits for it to read back as 0; false: it did not. */
bool virtio_device_reset(struct virtio_device *device);
/* Reset, ACKNOWLEDGE, DRIVER, FEATURES_OK with all offered features among those wanted, but the
 * ones that the command line lists in without=; false: refused. */
bool virtio_device_negotiate(struct virtio_device *device, uint64_t wanted);
void virtio_device_ready(const struct virtio_device *device);
bool virtio_needs_reset(const struct virtio_device *device);

#endif
