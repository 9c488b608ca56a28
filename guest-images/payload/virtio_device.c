#include "virtio_device.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <stddef.h>

#include "cmdline.h"
#include "serial.h"
#include "timing.h"

#define VIRTIO_MMIO_VERSION_MODERN 2

static struct virtio_device devices[VIRTIO_DEVICES_MAX];
static unsigned device_count;

/* The features that the command line can name; only those of devices that have a driver here. */
static const struct {
    const char *name;
    unsigned bit;
} feature_names[] = {
    {"indirect", VIRTIO_RING_F_INDIRECT_DESC},
    {"event_idx", VIRTIO_RING_F_EVENT_IDX},
    {"seg_max", VIRTIO_BLK_F_SEG_MAX},
    {"flush", VIRTIO_BLK_F_FLUSH},
    {"mq", VIRTIO_BLK_F_MQ},
    {"discard", VIRTIO_BLK_F_DISCARD},
    {"write_zeroes", VIRTIO_BLK_F_WRITE_ZEROES},
};

static void device_add(struct virtio_device device)
{
    device.id = virtio_read(&device, VIRTIO_MMIO_DEVICE_ID);
    /* 0 is a slot without a device. */
    if (device.id == 0 || device_count == VIRTIO_DEVICES_MAX)
        return;
    devices[device_count++] = device;
    print("device id=%u base=%p irq=%u\n", device.id, (void *)device.base, device.irq);
}

static void mmio_device_add(uintptr_t base, uint32_t irq)
{
    struct virtio_device device = {.base = base, .irq = irq};
    if (virtio_read(&device, VIRTIO_MMIO_MAGIC_VALUE) == VIRTIO_MMIO_MAGIC &&
        virtio_read(&device, VIRTIO_MMIO_VERSION) == VIRTIO_MMIO_VERSION_MODERN)
        device_add(device);
}

void virtio_devices_find(void)
{
    struct text word;
    for (unsigned n = 0; cmdline_find("virtio_mmio.device", n, &word); n++) {
        text_take_until(&word, '@'); /* the size: registers never lie beyond it */
        uintptr_t base = text_take_number(&word);
        text_take_until(&word, ':');
        mmio_device_add(base, (uint32_t)text_take_number(&word));
    }
    if (!cmdline_find("pci", 0, &word))
        return;
    struct virtio_pci *function;
    for (unsigned n = 0; (function = virtio_pci_find(n)); n++)
        device_add((struct virtio_device){.base = function->common, .pci = function});
}

struct virtio_device *virtio_device_by_id(uint32_t id, unsigned n)
{
    for (unsigned i = 0; i < device_count; i++)
        if (devices[i].id == id && n-- == 0)
            return &devices[i];
    return NULL;
}

uint64_t virtio_offered_features(const struct virtio_device *device)
{
    virtio_write(device, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    uint64_t high = virtio_read(device, VIRTIO_MMIO_DEVICE_FEATURES);
    virtio_write(device, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    return high << 32 | virtio_read(device, VIRTIO_MMIO_DEVICE_FEATURES);
}

void virtio_features_write(const struct virtio_device *device, uint64_t features)
{
    virtio_write(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    virtio_write(device, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
    virtio_write(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    virtio_write(device, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
}

uint64_t virtio_config_read64(const struct virtio_device *device, uint32_t offset)
{
    uint32_t generation;
    uint64_t value;
    do {
        generation = virtio_read(device, VIRTIO_MMIO_CONFIG_GENERATION);
        value = virtio_read(device, VIRTIO_MMIO_CONFIG + offset);
        value |= (uint64_t)virtio_read(device, VIRTIO_MMIO_CONFIG + offset + 4) << 32;
    } while (virtio_read(device, VIRTIO_MMIO_CONFIG_GENERATION) != generation);
    return value;
}

bool virtio_device_reset(struct virtio_device *device)
{
    virtio_write(device, VIRTIO_MMIO_STATUS, 0);
    for (uint64_t start = rdtsc(); virtio_read(device, VIRTIO_MMIO_STATUS) != 0;)
        if (timed_out(start))
            return false;
    return true;
}

static uint64_t unwanted_features(void)
{
    uint64_t features = 0;
    for (unsigned i = 0; i < sizeof(feature_names) / sizeof(feature_names[0]); i++)
        if (cmdline_list_has("without", feature_names[i].name))
            features |= VIRTIO_FEATURE(feature_names[i].bit);
    return features;
}

static void status_add(const struct virtio_device *device, uint32_t bit)
{
    virtio_write(device, VIRTIO_MMIO_STATUS, virtio_read(device, VIRTIO_MMIO_STATUS) | bit);
}

bool virtio_device_negotiate(struct virtio_device *device, uint64_t wanted)
{
    if (!virtio_device_reset(device))
        return false;
    status_add(device, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    status_add(device, VIRTIO_CONFIG_S_DRIVER);
    wanted = (wanted & ~unwanted_features()) | VIRTIO_FEATURE(VIRTIO_F_VERSION_1);
    device->features = virtio_offered_features(device) & wanted;
    virtio_features_write(device, device->features);
    status_add(device, VIRTIO_CONFIG_S_FEATURES_OK);
    return (device->features & VIRTIO_FEATURE(VIRTIO_F_VERSION_1)) &&
           (virtio_read(device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
}

void virtio_device_ready(const struct virtio_device *device)
{
    status_add(device, VIRTIO_CONFIG_S_DRIVER_OK);
}

bool virtio_needs_reset(const struct virtio_device *device)
{
    return virtio_read(device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}
