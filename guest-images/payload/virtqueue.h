/* The driver's side of a split virtqueue (virtio 1.2, 2.7), polled. */
#ifndef PAYLOAD_VIRTQUEUE_H
#define PAYLOAD_VIRTQUEUE_H

#include <linux/virtio_ring.h>

#include "virtio_device.h"

#define VIRTQUEUE_SIZE_MAX 128
#define INDIRECT_TABLE_ENTRIES 64

enum chain_form {
    CHAIN_DIRECT,
    CHAIN_INDIRECT,
};

struct segment {
    void *address;
    uint32_t length;
    /* VRING_DESC_F_WRITE for a device-writable segment, 0 for a device-readable one. */
    uint16_t flags;
};

struct virtqueue {
    struct virtio_device *device;
    uint16_t index, size;
    struct vring_desc *descriptors;
    struct vring_avail *available;
    struct vring_used *used;
    /* One table of INDIRECT_TABLE_ENTRIES for each descriptor. */
    struct vring_desc *indirect_tables;
    uint16_t free_head, free_count;
    /* Indexes of the next entry to fill, of the next to publish by a kick, of the next to reap. */
    uint16_t next_available, next_kick, next_used;
    bool event_idx, indirect, interrupts;
};

struct completion {
    /* The head that virtqueue_add returned. */
    uint16_t head;
    /* Bytes that the device says it wrote. */
    uint32_t length;
};

/* Takes memory for the rings, for any number of later virtqueue_start. */
void virtqueue_create(struct virtqueue *queue, struct virtio_device *device, uint16_t index);
/* Empties the rings and hands them to a device that has its features; false: it has no such
 * queue. With interrupts, the device is to interrupt for each completion, otherwise for none. */
bool virtqueue_start(struct virtqueue *queue, bool interrupts);
/* Adds a chain without telling the device; returns its head, or -1 if there is no room. */
int virtqueue_add(struct virtqueue *queue, const struct segment *segments, unsigned count,
                  enum chain_form form);
/* Publishes what was added and notifies the device if it wants to be. */
void virtqueue_kick(struct virtqueue *queue);
void virtqueue_notify(const struct virtqueue *queue);
/* Wants interrupts from now on, or none. After the first, completions may be there already: look
 * for them before sleeping. */
void virtqueue_want_interrupts(struct virtqueue *queue, bool wanted);
static inline bool virtqueue_has_completions(const struct virtqueue *queue)
{
    return __atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE) != queue->next_used;
}

bool virtqueue_reap(struct virtqueue *queue, struct completion *completion);

#endif
