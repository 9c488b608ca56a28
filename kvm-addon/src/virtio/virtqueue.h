/*
 * The device's side of a split virtqueue (virtio 1.2, section 2.7). The guest may write the rings
 * at any time, so their content is read once, checked, and used from the copy.
 *
 * A virtqueue is owned by one thread. Numbers have the host's byte order, little-endian.
 */
#ifndef TSVM_VIRTQUEUE_H
#define TSVM_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* Excludes inline functions for the layout of virtio 0.9. */
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

#include "../memory/guest_memory.h"

/* 2.7: "Queue Size is always a power of 2. The maximum Queue Size value is 32768." */
#define VIRTQUEUE_SIZE_MAX 32768u

/* A virtqueue as the driver configured it. */
struct virtqueue_config {
    uint64_t descriptor_gpa;
    uint64_t available_gpa;
    uint64_t used_gpa;
    uint32_t size;
    uint16_t index; /* index of the queue in the device */
    int interrupt;  /* index of the worker's interrupt that it raises; < 0: none */
    bool event_idx; /* VIRTIO_F_EVENT_IDX was negotiated */
    bool indirect;  /* VIRTIO_F_INDIRECT_DESC was negotiated */
};

struct virtqueue {
    const struct guest_memory *memory;
    /* Host addresses, checked by virtqueue_init, so that accessors need no checks. */
    struct vring_desc *descriptors;
    struct vring_avail *available;
    struct vring_used *used;
    uint64_t used_gpa;
    uint16_t size;
    uint16_t index; /* index of the queue in the device */
    int interrupt;  /* as configured */
    bool event_idx;
    bool indirect;

    uint16_t available_idx;  /* the last seen index of the available ring */
    uint16_t next_available; /* the next entry of the available ring to take */
    uint16_t next_used;      /* the next entry of the used ring to fill */
    uint16_t published_used; /* the used index that the driver sees */
    uint16_t in_flight;      /* number of chains taken and not returned, at most size */
    const char *broken;      /* how the driver broke the queue, or NULL */
};

/* A descriptor chain: device-readable buffers, followed by device-writable ones. */
struct virtqueue_chain {
    uint16_t head;
    unsigned readable_count; /* number of entries in the iovec array, without empty ones */
    unsigned writable_count; /* number of entries after the readable ones */
    uint32_t readable_bytes;
    uint32_t writable_bytes; /* the sum of both also fits in 32 bits */
};

/*
 * Checks the size, alignment and location of the rings. Both indices continue from the used index:
 * it is 0 in the zeroed rings of a new driver, and the device's position if it was stopped with
 * nothing in flight. Returns 0 or -EINVAL.
 */
int virtqueue_init(struct virtqueue *queue, const struct guest_memory *memory,
                   const struct virtqueue_config *config);

/*
 * Takes the next chain and stores its buffers' host addresses in `iov`, which has room for
 * queue->size entries. Returns 1, 0 (no chain is available), or -EPROTO: the driver has broken the
 * queue in the way that queue->broken describes, and guest memory must no longer be accessed on its
 * behalf.
 */
int virtqueue_pop(struct virtqueue *queue, struct iovec *iov, struct virtqueue_chain *chain);

/*
 * Gives back the most recently taken chain in flight. It is the next to be taken again, and the
 * driver does not notice.
 */
void virtqueue_unpop(struct virtqueue *queue);

/*
 * Returns a chain with `written` bytes in its writable part. The driver sees it after
 * virtqueue_publish(), unless the queue is broken.
 */
void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written);

/* Publishes the pushed chains. Returns true if the driver wants an interrupt. */
bool virtqueue_publish(struct virtqueue *queue);

/* Tells the driver that kicks are not needed now. It may still kick. */
void virtqueue_disable_kicks(struct virtqueue *queue);

/*
 * Requests a kick for the next chain. A chain that became available meanwhile causes none, so call
 * virtqueue_has_available() after this and before sleeping.
 */
void virtqueue_enable_kicks(struct virtqueue *queue);

/* Number of available chains according to the driver; more than the queue's size if the driver
 * lies. */
static inline unsigned virtqueue_available(const struct virtqueue *queue)
{
    return (uint16_t)(__atomic_load_n(&queue->available->idx, __ATOMIC_RELAXED) -
                      queue->next_available);
}

/* Whether a chain may be available; costs one load. False for a broken queue. */
static inline bool virtqueue_has_available(const struct virtqueue *queue)
{
    return __atomic_load_n(&queue->available->idx, __ATOMIC_RELAXED) != queue->next_available &&
           !queue->broken;
}

#endif
