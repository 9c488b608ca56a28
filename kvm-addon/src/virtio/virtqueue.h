/*
 * The device's side of a split virtqueue (virtio 1.2, section 2.7). The guest writes the rings at
 * any time, so everything in them is read once, checked, and used from the copy.
 *
 * One thread owns a virtqueue. The fields are little-endian, as all of the host's.
 */
#ifndef TSVM_VIRTQUEUE_H
#define TSVM_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* Without the inline functions of the layout that virtio 1.0 did away with. */
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
    uint16_t index; /* which of the device's queues this is */
    int interrupt;  /* which of the worker's interrupts it raises; < 0: none */
    bool event_idx; /* VIRTIO_F_EVENT_IDX was negotiated */
    bool indirect;  /* VIRTIO_F_INDIRECT_DESC was negotiated */
};

struct virtqueue {
    const struct guest_memory *memory;
    /* Host addresses, checked by virtqueue_init: the accessors need no checks. */
    struct vring_desc *descriptors;
    struct vring_avail *available;
    struct vring_used *used;
    uint64_t used_gpa;
    uint16_t size;
    uint16_t index; /* which of the device's queues this is */
    int interrupt;  /* as configured */
    bool event_idx;
    bool indirect;

    uint16_t available_idx;  /* the last seen index of the available ring */
    uint16_t next_available; /* the next entry of the available ring to take */
    uint16_t next_used;      /* the next entry of the used ring to fill */
    uint16_t published_used; /* the index in the used ring, as the driver sees it */
    uint16_t in_flight;      /* chains taken and not returned, at most size */
    const char *broken;      /* how the driver broke the queue, or NULL */
};

/* A descriptor chain: what the driver lets the device read, then what it lets it write. */
struct virtqueue_chain {
    uint16_t head;
    unsigned readable_count; /* entries of the iovec array, no empty ones */
    unsigned writable_count; /* entries that follow the readable ones */
    uint32_t readable_bytes;
    uint32_t writable_bytes; /* the sum of both fits 32 bits as well */
};

/*
 * Checks the rings' size, alignment and place in memory. Both indices go on from the used ring's:
 * zero in the zeroed rings of a new driver, and where the device stood when it was stopped with
 * nothing in flight. Returns 0 or -EINVAL.
 */
int virtqueue_init(struct virtqueue *queue, const struct guest_memory *memory,
                   const struct virtqueue_config *config);

/*
 * Takes the next chain and puts its buffers' host addresses in `iov`, which has room for
 * queue->size entries. Returns 1, 0 (none is available), or -EPROTO: the driver broke the queue,
 * queue->broken says how, and guest memory must not be touched on its behalf any more.
 */
int virtqueue_pop(struct virtqueue *queue, struct iovec *iov, struct virtqueue_chain *chain);

/*
 * Gives back the chain that was taken last of those in flight: it is the next to be taken again,
 * and the driver sees nothing of it.
 */
void virtqueue_unpop(struct virtqueue *queue);

/*
 * Returns a chain with `written` bytes in its writable part. The driver sees it once published; of
 * a broken queue it sees nothing more.
 */
void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written);

/* Shows the driver what was pushed. True when it wants an interrupt for it. */
bool virtqueue_publish(struct virtqueue *queue);

/* Tells the driver that kicks are not needed now. It may kick all the same. */
void virtqueue_disable_kicks(struct virtqueue *queue);

/*
 * Asks for a kick with the next chain. One that became available meanwhile brings none: look with
 * virtqueue_has_available after this, and before sleeping.
 */
void virtqueue_enable_kicks(struct virtqueue *queue);

/* How many chains the driver says are available: more than the queue's size if it lies. */
static inline unsigned virtqueue_available(const struct virtqueue *queue)
{
    return (uint16_t)(__atomic_load_n(&queue->available->idx, __ATOMIC_RELAXED) -
                      queue->next_available);
}

/* Whether a chain may be available; costs one load. A broken queue has none. */
static inline bool virtqueue_has_available(const struct virtqueue *queue)
{
    return __atomic_load_n(&queue->available->idx, __ATOMIC_RELAXED) != queue->next_available &&
           !queue->broken;
}

#endif
