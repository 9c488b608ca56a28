/*
 * Virtqueues that another process serves: the data plane of a vhost-user device. This is the front
 * end's part; TypeScript sends the protocol's messages.
 *
 * The backend does not see the driver's rings but shadow rings in separate memory that is shared
 * with it. This worker moves chains between the driver's rings and the shadow rings. The data stays
 * in guest memory, which the backend maps. So the backend gets only checked descriptors, and every
 * write to guest memory is known here before the driver sees the chain as used. The interpreter of
 * guest kernels and the log of dirty pages depend on that.
 */
#ifndef TSVM_VHOST_QUEUES_H
#define TSVM_VHOST_QUEUES_H

#include "../util/counter.h"
#include "queue_worker.h"

#define VHOST_QUEUES_MAX 8u
#define VHOST_QUEUE_SIZE_MAX 1024u

/* A chain in flight at the backend. */
struct vhost_chain {
    uint16_t guest_head;
    bool in_flight;
    uint32_t writable_bytes;
};

/* The shadow of one queue. */
struct vhost_ring {
    /* Shared with the backend: do not trust its content. */
    struct vring_desc *descriptors;
    struct vring_avail *available;
    struct vring_used *used;
    struct vring_desc *tables; /* an indirect table of the queue's size per descriptor */

    struct virtqueue *virtqueue; /* the driver's queue; NULL while it is not in use */
    struct event_source call;    /* an eventfd that the backend signals */
    int kick;                    /* an eventfd that the backend waits for */
    uint16_t next_available;
    uint16_t next_used;
    struct vhost_chain *chains; /* indexed by shadow descriptor */
    uint16_t *free_heads;
    uint16_t free_count;
};

struct vhost_statistics {
    counter requests; /* chains passed to the backend */
    counter kicks;    /* of the backend */
};

struct vhost_queues {
    struct queue_handler handler;
    struct vhost_ring rings[VHOST_QUEUES_MAX];
    unsigned count;
    uint32_t size;          /* size of each queue */
    uint64_t rings_address; /* the backend's address of the shadow rings */
    int memory_fd;          /* a memfd with the shadow rings */
    uint8_t *shared;
    size_t shared_bytes;
    struct iovec *iov;
    pthread_mutex_t lock;
    struct event_loop *loop; /* NULL while the worker does not run; protected by the lock */
    bool failed;             /* atomic: the backend has exited or violated the protocol */
    bool dropped;            /* its chains were dropped, and its rings are no longer read */
    struct vhost_statistics statistics;
};

/*
 * Initializes `count` queues of `size` descriptors, a power of two. The backend finds the shadow
 * rings at `rings_address` and guest memory at guest-physical addresses. `name` is the name of the
 * thread and is not copied. Returns 0, -EINVAL or another -errno.
 */
int vhost_queues_init(struct vhost_queues *queues, const char *name, unsigned count, uint32_t size,
                      uint64_t rings_address);
/* The worker must not run. */
void vhost_queues_destroy(struct vhost_queues *queues);

/* Empties the shadow rings for a new backend. The worker must not run. */
void vhost_queues_reset(struct vhost_queues *queues);

/*
 * Reports that the backend has exited and can no longer access guest memory. Its chains are
 * dropped, and the worker ends with a broken queue. Callable from any thread.
 */
void vhost_queues_fail(struct vhost_queues *queues);

/* The backend's address of a part of the shadow rings. */
static inline uint64_t vhost_queues_address(const struct vhost_queues *queues, const void *part)
{
    return queues->rings_address + (uint64_t)((const uint8_t *)part - queues->shared);
}

#endif
