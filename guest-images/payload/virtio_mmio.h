/* The driver's side of the virtio-mmio transport, version 2 (virtio 1.2, 4.2). */
#ifndef PAYLOAD_VIRTIO_MMIO_H
#define PAYLOAD_VIRTIO_MMIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <stdbool.h>
#include <stdint.h>

#include "cpu.h"

#define VIRTIO_MMIO_MAGIC 0x74726976
#define VIRTIO_DEVICES_MAX 32
#define VIRTIO_FEATURE(bit) (1ull << (bit))

struct virtio_device {
    uintptr_t base;
    uint32_t irq, id;
    /* The negotiated features. */
    uint64_t features;
};

/* Probes every virtio_mmio.device= on the command line. */
void virtio_devices_find(void);
/* The n-th device (from 0) with this VIRTIO_ID_*, or NULL. */
struct virtio_device *virtio_device_by_id(uint32_t id, unsigned n);

static inline uint32_t virtio_read(const struct virtio_device *device, uint32_t offset)
{
    return mmio_read32(device->base + offset);
}

static inline void virtio_write(const struct virtio_device *device, uint32_t offset, uint32_t value)
{
    mmio_write32(device->base + offset, value);
}

/* Writes a pair of registers, the lower half first. */
static inline void virtio_write64(const struct virtio_device *device, uint32_t offset,
                                  uint64_t value)
{
    virtio_write(device, offset, (uint32_t)value);
    virtio_write(device, offset + 4, (uint32_t)(value >> 32));
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
