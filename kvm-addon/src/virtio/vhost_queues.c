#include "vhost_queues.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define PART_ALIGN 4096u

static const char BACKEND_GONE[] = "the backend of the device is gone";
static const char BAD_USED_INDEX[] = "the backend returns more chains than it has";
static const char BAD_USED_ENTRY[] = "the backend returns a chain that it does not have";
static const char BAD_USED_LENGTH[] = "the backend says that it wrote more than there is room for";

static struct vhost_queues *queues_of(struct queue_handler *handler)
{
    return (struct vhost_queues *)((uint8_t *)handler - offsetof(struct vhost_queues, handler));
}

/* Drops the chains that the backend has. The driver's queues become broken. */
static void queues_break(struct vhost_queues *queues, const char *reason)
{
    __atomic_store_n(&queues->failed, true, __ATOMIC_RELEASE);
    queues->dropped = true;
    for (unsigned i = 0; i < queues->count; i++) {
        struct vhost_ring *ring = &queues->rings[i];
        if (!ring->virtqueue)
            continue;
        ring->virtqueue->broken = reason;
        for (unsigned head = 0; head < queues->size; head++) {
            if (ring->chains[head].in_flight)
                virtqueue_push(ring->virtqueue, ring->chains[head].guest_head, 0);
            ring->chains[head].in_flight = false;
        }
    }
}

/* Passes a chain, whose buffers are in queues->iov, to the backend. */
static void chain_pass(struct vhost_queues *queues, struct vhost_ring *ring,
                       const struct virtqueue_chain *chain)
{
    unsigned count = chain->readable_count + chain->writable_count;
    uint16_t head = ring->free_heads[--ring->free_count];
    struct vring_desc *table = ring->tables + head * queues->size;

    for (unsigned i = 0; i < count; i++) {
        uint16_t flags = i < chain->readable_count ? 0 : VRING_DESC_F_WRITE;
        table[i] = (struct vring_desc){
            .addr = guest_memory_gpa(ring->virtqueue->memory, queues->iov[i].iov_base),
            .len = (uint32_t)queues->iov[i].iov_len,
            .flags = i + 1 < count ? flags | VRING_DESC_F_NEXT : flags,
            .next = (uint16_t)(i + 1),
        };
    }
    ring->descriptors[head] = (struct vring_desc){
        .addr = vhost_queues_address(queues, table),
        .len = count * (uint32_t)sizeof *table,
        .flags = VRING_DESC_F_INDIRECT,
    };
    ring->chains[head] = (struct vhost_chain){
        .guest_head = chain->head, .in_flight = true, .writable_bytes = chain->writable_bytes};
    ring->available->ring[ring->next_available++ & (queues->size - 1)] = head;
}

static unsigned vhost_serve(struct queue_handler *handler, struct virtqueue *queue, unsigned max)
{
    struct vhost_queues *queues = queues_of(handler);
    struct vhost_ring *ring = &queues->rings[queue->index];
    struct virtqueue_chain chain;
    unsigned taken = 0, passed = 0;

    /*
     * A shadow ring has room: it is at least as long as the driver's ring, and virtqueue_pop()
     * treats a queue with more chains in flight as broken.
     */
    for (; taken < max && virtqueue_pop(queue, queues->iov, &chain) > 0; taken++) {
        if (chain.readable_count + chain.writable_count == 0) {
            virtqueue_push(queue, chain.head, 0);
            continue;
        }
        chain_pass(queues, ring, &chain);
        passed++;
    }
    if (passed == 0)
        return taken;
    counter_add(&queues->statistics.requests, passed);
    /* Release: a backend that sees the index also sees the chains. */
    __atomic_store_n(&ring->available->idx, ring->next_available, __ATOMIC_RELEASE);
    /* At least one side sees the other's write; see virtqueue_publish(). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(__atomic_load_n(&ring->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY)) {
        eventfd_write(ring->kick, 1);
        counter_add(&queues->statistics.kicks, 1);
    }
    return taken;
}

/* Returns a chain to the driver. Returns NULL, or the reason why it is invalid. */
static const char *chain_return(struct vhost_queues *queues, struct vhost_ring *ring)
{
    const vring_used_elem_t *element = &ring->used->ring[ring->next_used & (queues->size - 1)];
    uint32_t id = __atomic_load_n(&element->id, __ATOMIC_RELAXED);
    uint32_t written = __atomic_load_n(&element->len, __ATOMIC_RELAXED);

    if (id >= queues->size || !ring->chains[id].in_flight)
        return BAD_USED_ENTRY;
    if (written > ring->chains[id].writable_bytes)
        return BAD_USED_LENGTH;
    ring->next_used++;
    ring->chains[id].in_flight = false;
    ring->free_heads[ring->free_count++] = (uint16_t)id;
    virtqueue_push(ring->virtqueue, ring->chains[id].guest_head, written);
    return NULL;
}

/* Also for a queue that the driver has broken, because its chains in flight must complete. */
static bool has_used(const struct vhost_ring *ring)
{
    return ring->virtqueue &&
           __atomic_load_n(&ring->used->idx, __ATOMIC_RELAXED) != ring->next_used;
}

static bool vhost_has_answers(struct queue_handler *handler)
{
    struct vhost_queues *queues = queues_of(handler);
    bool found = __atomic_load_n(&queues->failed, __ATOMIC_RELAXED);

    for (unsigned i = 0; i < queues->count && !found; i++)
        found = has_used(&queues->rings[i]);
    return found && !queues->dropped;
}

static unsigned ring_exchange(struct vhost_queues *queues, struct vhost_ring *ring)
{
    /* Acquire: the backend writes the entries and the buffers before it moves the index. */
    uint16_t idx = __atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE);
    uint16_t count = idx - ring->next_used;
    const char *problem = count > queues->size ? BAD_USED_INDEX : NULL;

    while (!problem && ring->next_used != idx)
        problem = chain_return(queues, ring);
    if (problem)
        queues_break(queues, problem);
    return count;
}

static unsigned vhost_exchange(struct queue_handler *handler)
{
    struct vhost_queues *queues = queues_of(handler);
    unsigned done = 0;

    for (unsigned i = 0; i < queues->count && !queues->dropped; i++) {
        if (has_used(&queues->rings[i]))
            done += ring_exchange(queues, &queues->rings[i]);
    }
    if (!queues->dropped && __atomic_load_n(&queues->failed, __ATOMIC_ACQUIRE))
        queues_break(queues, BACKEND_GONE);
    return done;
}

static bool vhost_waits(struct queue_handler *handler)
{
    struct vhost_queues *queues = queues_of(handler);
    bool waits = false;

    for (unsigned i = 0; i < queues->count && !waits; i++)
        waits = queues->rings[i].virtqueue && queues->rings[i].virtqueue->in_flight > 0;
    return waits;
}

static void loop_set(struct vhost_queues *queues, struct event_loop *loop)
{
    pthread_mutex_lock(&queues->lock);
    queues->loop = loop;
    pthread_mutex_unlock(&queues->lock);
}

static void vhost_free(struct queue_handler *handler)
{
    struct vhost_queues *queues = queues_of(handler);

    loop_set(queues, NULL);
    for (unsigned i = 0; i < queues->count; i++)
        queues->rings[i].virtqueue = NULL;
    free(queues->iov);
    queues->iov = NULL;
}

static int vhost_start(struct queue_handler *handler, struct queue_worker *worker)
{
    struct vhost_queues *queues = queues_of(handler);
    int error = __atomic_load_n(&queues->failed, __ATOMIC_ACQUIRE) ? -EPIPE : 0;

    queues->iov = calloc(queues->size, sizeof *queues->iov);
    if (!queues->iov)
        return -ENOMEM;
    for (unsigned i = 0; i < worker->options.queue_count && error == 0; i++) {
        struct virtqueue *queue = &worker->queues[i];
        if (queue->index >= queues->count || queue->size > queues->size) {
            error = -EINVAL;
            break;
        }
        struct vhost_ring *ring = &queues->rings[queue->index];
        ring->virtqueue = queue;
        error = event_loop_add(&worker->loop, &ring->call, EPOLLIN | EPOLLET);
    }
    loop_set(queues, &worker->loop);
    if (error < 0)
        vhost_free(handler);
    return error;
}

static size_t aligned(size_t bytes)
{
    return (bytes + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN;
}

/* Sizes of the parts of a shadow ring. Without EVENT_IDX the event fields are unused. */
static size_t descriptors_bytes(uint32_t size)
{
    return aligned(size * sizeof(struct vring_desc));
}

static size_t available_bytes(uint32_t size)
{
    return aligned(sizeof(struct vring_avail) + (size + 1) * sizeof(uint16_t));
}

static size_t used_bytes(uint32_t size)
{
    return aligned(sizeof(struct vring_used) + size * sizeof(vring_used_elem_t) + sizeof(uint16_t));
}

static size_t tables_bytes(uint32_t size)
{
    return aligned((size_t)size * size * sizeof(struct vring_desc));
}

static int ring_init(struct vhost_ring *ring, uint8_t *at, uint32_t size)
{
    *ring = (struct vhost_ring){
        .descriptors = (void *)at,
        .available = (void *)(at + descriptors_bytes(size)),
        .used = (void *)(at + descriptors_bytes(size) + available_bytes(size)),
        .tables = (void *)(at + descriptors_bytes(size) + available_bytes(size) + used_bytes(size)),
        .call.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
        .kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
        .chains = calloc(size, sizeof *ring->chains),
        .free_heads = calloc(size, sizeof *ring->free_heads),
    };
    if (ring->call.fd < 0 || ring->kick < 0)
        return -EMFILE;
    return ring->chains && ring->free_heads ? 0 : -ENOMEM;
}

void vhost_queues_reset(struct vhost_queues *queues)
{
    eventfd_t ignored;

    for (unsigned i = 0; i < queues->count; i++) {
        struct vhost_ring *ring = &queues->rings[i];
        ring->available->idx = ring->available->flags = 0;
        memset(ring->used, 0, used_bytes(queues->size));
        memset(ring->chains, 0, queues->size * sizeof *ring->chains);
        ring->next_available = ring->next_used = 0;
        for (ring->free_count = 0; ring->free_count < queues->size; ring->free_count++)
            ring->free_heads[ring->free_count] = ring->free_count;
        eventfd_read(ring->kick, &ignored);
    }
    queues->dropped = false;
    __atomic_store_n(&queues->failed, false, __ATOMIC_RELEASE);
}

int vhost_queues_init(struct vhost_queues *queues, const char *name, unsigned count, uint32_t size,
                      uint64_t rings_address)
{
    if (count == 0 || count > VHOST_QUEUES_MAX || size == 0 || size > VHOST_QUEUE_SIZE_MAX ||
        (size & (size - 1)) != 0)
        return -EINVAL;
    size_t stride =
        descriptors_bytes(size) + available_bytes(size) + used_bytes(size) + tables_bytes(size);
    *queues = (struct vhost_queues){
        .handler = {.name = name,
                    .sandbox = SANDBOX_QUEUE,
                    .start = vhost_start,
                    .free = vhost_free,
                    .serve = vhost_serve,
                    .exchange = vhost_exchange,
                    .has_answers = vhost_has_answers,
                    .waits = vhost_waits},
        .size = size,
        .rings_address = rings_address,
        .memory_fd = memfd_create("tsvm-vhost", MFD_CLOEXEC | MFD_ALLOW_SEALING),
        .shared_bytes = count * stride,
    };
    int error = queues->memory_fd < 0 ? -errno : 0;
    /*
     * Pages are allocated on first use. The file is sealed against resizing, because truncation by
     * a backend would cause SIGBUS here.
     */
    if (error == 0 &&
        (ftruncate(queues->memory_fd, (off_t)queues->shared_bytes) < 0 ||
         fcntl(queues->memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0))
        error = -errno;
    if (error == 0) {
        void *shared = mmap(NULL, queues->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                            queues->memory_fd, 0);
        error = shared == MAP_FAILED ? -errno : 0;
        queues->shared = error < 0 ? NULL : shared;
    }
    pthread_mutex_init(&queues->lock, NULL);
    while (error == 0 && queues->count < count) {
        error =
            ring_init(&queues->rings[queues->count], queues->shared + queues->count * stride, size);
        queues->count++;
    }
    if (error < 0)
        vhost_queues_destroy(queues);
    else
        vhost_queues_reset(queues);
    return error;
}

void vhost_queues_destroy(struct vhost_queues *queues)
{
    for (unsigned i = 0; i < queues->count; i++) {
        struct vhost_ring *ring = &queues->rings[i];
        if (ring->call.fd >= 0)
            close(ring->call.fd);
        if (ring->kick >= 0)
            close(ring->kick);
        free(ring->chains);
        free(ring->free_heads);
    }
    if (queues->shared)
        munmap(queues->shared, queues->shared_bytes);
    if (queues->memory_fd >= 0)
        close(queues->memory_fd);
    pthread_mutex_destroy(&queues->lock);
}

void vhost_queues_fail(struct vhost_queues *queues)
{
    pthread_mutex_lock(&queues->lock);
    __atomic_store_n(&queues->failed, true, __ATOMIC_RELEASE);
    if (queues->loop)
        event_loop_wake(queues->loop);
    pthread_mutex_unlock(&queues->lock);
}
