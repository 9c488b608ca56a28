#include "virtqueue.h"

#include <errno.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio's fields are used as they are");
_Static_assert(sizeof(struct vring_desc) == 16, "2.7.5: a descriptor has 16 bytes");

/* Why a queue is broken. In each case, the driver has violated the specification. */
static const char AVAILABLE_TOO_FAR[] =
    "the available index is further ahead than the queue is long";
static const char TOO_MANY_IN_FLIGHT[] = "more chains are available than there are descriptors";
static const char HEAD_OUT_OF_RANGE[] = "a head is not a descriptor of the queue";
static const char NEXT_OUT_OF_RANGE[] = "a next field points outside the table";
static const char CHAIN_TOO_LONG[] = "a chain has more descriptors than the queue, or loops";
static const char CHAIN_TOO_BIG[] = "a chain has 4 GiB or more";
static const char BUFFER_OUTSIDE_MEMORY[] = "a buffer is not in guest memory";
static const char READABLE_AFTER_WRITABLE[] = "a device-readable buffer follows a writable one";
static const char INDIRECT_NOT_NEGOTIATED[] = "an indirect table was not negotiated";
static const char INDIRECT_WITH_NEXT[] = "an indirect descriptor has a next one";
static const char INDIRECT_NESTED[] = "an indirect table is nested in another";
static const char INDIRECT_BAD_LENGTH[] =
    "an indirect table's length is not a number of descriptors";
static const char INDIRECT_OUTSIDE_MEMORY[] = "an indirect table is not in guest memory";

/* Sizes of the rings, 2.7, always including the event fields at their ends. */
static uint64_t available_bytes(uint32_t size)
{
    return sizeof(struct vring_avail) + size * sizeof(uint16_t) + sizeof(uint16_t);
}

static uint64_t used_bytes(uint32_t size)
{
    return sizeof(struct vring_used) + size * sizeof(vring_used_elem_t) + sizeof(uint16_t);
}

/* The used index after which the driver wants an interrupt. */
static uint16_t *used_event(const struct virtqueue *queue)
{
    return &queue->available->ring[queue->size];
}

/* The available index after which the device wants a kick. */
static uint16_t *avail_event(const struct virtqueue *queue)
{
    return (uint16_t *)&queue->used->ring[queue->size];
}

static void *ring_at(const struct guest_memory *memory, uint64_t gpa, uint64_t bytes,
                     uint64_t alignment)
{
    return gpa % alignment == 0 ? guest_memory_at(memory, gpa, bytes) : NULL;
}

int virtqueue_init(struct virtqueue *queue, const struct guest_memory *memory,
                   const struct virtqueue_config *config)
{
    uint32_t size = config->size;
    if (size == 0 || size > VIRTQUEUE_SIZE_MAX || (size & (size - 1)) != 0)
        return -EINVAL;
    *queue = (struct virtqueue){
        .memory = memory,
        .used_gpa = config->used_gpa,
        .size = (uint16_t)size,
        .index = config->index,
        .interrupt = config->interrupt,
        .event_idx = config->event_idx,
        .indirect = config->indirect,
        .descriptors = ring_at(memory, config->descriptor_gpa, size * sizeof(struct vring_desc),
                               VRING_DESC_ALIGN_SIZE),
        .available =
            ring_at(memory, config->available_gpa, available_bytes(size), VRING_AVAIL_ALIGN_SIZE),
        .used = ring_at(memory, config->used_gpa, used_bytes(size), VRING_USED_ALIGN_SIZE),
    };
    if (!queue->descriptors || !queue->available || !queue->used)
        return -EINVAL;
    uint16_t idx = __atomic_load_n(&queue->used->idx, __ATOMIC_RELAXED);
    queue->next_available = queue->available_idx = idx;
    queue->next_used = queue->published_used = idx;
    return 0;
}

static int queue_break(struct virtqueue *queue, const char *reason)
{
    queue->broken = reason;
    return -EPROTO;
}

/* Returns 1 if there is an entry to take, 0 if there is none, or -EPROTO. */
static int find_available(struct virtqueue *queue)
{
    if (queue->available_idx == queue->next_available) {
        /*
         * Acquire: the driver writes the entries and their descriptors before it moves the index.
         * Reads of them must not be executed before the read of the index.
         */
        queue->available_idx = __atomic_load_n(&queue->available->idx, __ATOMIC_ACQUIRE);
        uint16_t ahead = queue->available_idx - queue->next_available;
        if (ahead > queue->size)
            return queue_break(queue, AVAILABLE_TOO_FAR);
        if (ahead == 0)
            return 0;
    }
    /* Each chain contains at least one descriptor until it is returned. */
    if (queue->in_flight == queue->size)
        return queue_break(queue, TOO_MANY_IN_FLIGHT);
    return 1;
}

/* A descriptor table. An indirect table may have any address. */
struct table {
    const uint8_t *descriptors;
    uint32_t length; /* number of descriptors */
    bool indirect;
};

/* Reads a descriptor once. */
static struct vring_desc table_read(const struct table *table, uint32_t index)
{
    struct vring_desc copy;
    memcpy(&copy, table->descriptors + index * sizeof copy, sizeof copy);
    /* Guest memory may change at any time: the compiler must not read again what has been checked.
     */
    __asm__ volatile("" ::: "memory");
    return copy;
}

/* Adds a buffer to the chain. */
static int chain_add(struct virtqueue *queue, const struct vring_desc *descriptor,
                     struct iovec *iov, struct virtqueue_chain *chain)
{
    bool writable = descriptor->flags & VRING_DESC_F_WRITE;
    /* 2.7.4.2: "place any device-writable buffers after any device-readable ones". */
    if (!writable && chain->writable_count > 0)
        return queue_break(queue, READABLE_AFTER_WRITABLE);
    if (descriptor->len == 0)
        return 0;
    uint64_t total = (uint64_t)chain->readable_bytes + chain->writable_bytes + descriptor->len;
    if (total > UINT32_MAX)
        return queue_break(queue, CHAIN_TOO_BIG);
    const void *hva =
        writable ? guest_memory_at(queue->memory, descriptor->addr, descriptor->len)
                 : guest_memory_readable_at(queue->memory, descriptor->addr, descriptor->len);
    if (!hva)
        return queue_break(queue, BUFFER_OUTSIDE_MEMORY);
    iov[chain->readable_count + chain->writable_count] =
        (struct iovec){.iov_base = (void *)hva, .iov_len = descriptor->len};
    if (writable) {
        chain->writable_count++;
        chain->writable_bytes += descriptor->len;
    } else {
        chain->readable_count++;
        chain->readable_bytes += descriptor->len;
    }
    return 0;
}

/* Continues with an indirect descriptor's table, 2.7.5.3. */
static int table_enter(struct virtqueue *queue, const struct vring_desc *descriptor,
                       struct table *table)
{
    if (!queue->indirect)
        return queue_break(queue, INDIRECT_NOT_NEGOTIATED);
    if (table->indirect)
        return queue_break(queue, INDIRECT_NESTED);
    /* "A driver MUST NOT set both VIRTQ_DESC_F_INDIRECT and VIRTQ_DESC_F_NEXT in flags." */
    if (descriptor->flags & VRING_DESC_F_NEXT)
        return queue_break(queue, INDIRECT_WITH_NEXT);
    if (descriptor->len == 0 || descriptor->len % sizeof *descriptor != 0)
        return queue_break(queue, INDIRECT_BAD_LENGTH);
    table->descriptors = guest_memory_at(queue->memory, descriptor->addr, descriptor->len);
    table->length = descriptor->len / sizeof *descriptor;
    table->indirect = true;
    return table->descriptors ? 0 : queue_break(queue, INDIRECT_OUTSIDE_MEMORY);
}

/* Follows the chain from `next` to its end. */
static int chain_walk(struct virtqueue *queue, uint32_t next, struct iovec *iov,
                      struct virtqueue_chain *chain)
{
    struct table table = {.descriptors = (const uint8_t *)queue->descriptors,
                          .length = queue->size};
    /*
     * 2.7.5.3.1: "A driver MUST NOT create a descriptor chain longer than the Queue Size of the
     * device", including indirect descriptors. A longer chain may be a loop.
     */
    for (unsigned buffers = 0; buffers < queue->size;) {
        struct vring_desc descriptor = table_read(&table, next);
        if (descriptor.flags & VRING_DESC_F_INDIRECT) {
            /* 2.7.5.3.2: "The device MUST ignore the write-only flag" of this descriptor. */
            int error = table_enter(queue, &descriptor, &table);
            if (error < 0)
                return error;
            next = 0;
            continue;
        }
        int error = chain_add(queue, &descriptor, iov, chain);
        if (error < 0)
            return error;
        buffers++;
        if (!(descriptor.flags & VRING_DESC_F_NEXT))
            return 0;
        next = descriptor.next;
        if (next >= table.length)
            return queue_break(queue, NEXT_OUT_OF_RANGE);
    }
    return queue_break(queue, CHAIN_TOO_LONG);
}

int virtqueue_pop(struct virtqueue *queue, struct iovec *iov, struct virtqueue_chain *chain)
{
    if (queue->broken)
        return -EPROTO;
    int found = find_available(queue);
    if (found <= 0)
        return found;
    uint16_t slot = queue->next_available & (queue->size - 1);
    uint16_t head = __atomic_load_n(&queue->available->ring[slot], __ATOMIC_RELAXED);
    if (head >= queue->size)
        return queue_break(queue, HEAD_OUT_OF_RANGE);
    *chain = (struct virtqueue_chain){.head = head};
    int error = chain_walk(queue, head, iov, chain);
    if (error < 0)
        return error;
    queue->next_available++;
    queue->in_flight++;
    return 1;
}

void virtqueue_unpop(struct virtqueue *queue)
{
    queue->next_available--;
    queue->in_flight--;
}

/*
 * Reports the writable buffers of a chain to the observer of guest memory. If the driver has
 * changed the descriptors since, only its own memory is affected, and the walk is as bounded as the
 * first one.
 */
static void chain_tell(const struct virtqueue *queue, uint32_t next)
{
    struct table table = {.descriptors = (const uint8_t *)queue->descriptors,
                          .length = queue->size};
    for (unsigned buffers = 0; buffers < queue->size && next < table.length; buffers++) {
        struct vring_desc descriptor = table_read(&table, next);
        if (descriptor.flags & VRING_DESC_F_INDIRECT) {
            table.descriptors = guest_memory_at(queue->memory, descriptor.addr, descriptor.len);
            if (table.indirect || !table.descriptors)
                return;
            table.length = descriptor.len / sizeof descriptor;
            table.indirect = true;
            next = 0;
            continue;
        }
        if (descriptor.flags & VRING_DESC_F_WRITE)
            guest_memory_tell(queue->memory, descriptor.addr, descriptor.len);
        if (!(descriptor.flags & VRING_DESC_F_NEXT))
            return;
        next = descriptor.next;
    }
}

void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written)
{
    queue->in_flight--;
    if (queue->broken)
        return;
    if (guest_memory_is_watched(queue->memory))
        chain_tell(queue, head);
    vring_used_elem_t *element = &queue->used->ring[queue->next_used & (queue->size - 1)];
    __atomic_store_n(&element->id, head, __ATOMIC_RELAXED);
    __atomic_store_n(&element->len, written, __ATOMIC_RELAXED);
    queue->next_used++;
}

bool virtqueue_publish(struct virtqueue *queue)
{
    uint16_t before = queue->published_used;
    if (queue->next_used == before || queue->broken)
        return false;
    /* Release: a driver that sees the index also sees the entries and their data. */
    __atomic_store_n(&queue->used->idx, queue->next_used, __ATOMIC_RELEASE);
    queue->published_used = queue->next_used;
    if (guest_memory_is_watched(queue->memory))
        guest_memory_tell(queue->memory, queue->used_gpa, used_bytes(queue->size));
    /*
     * Before it waits, the driver writes used_event (or its flag), executes a full barrier, and
     * reads the index again. With a full barrier here between writing the index and reading
     * used_event, at least one side sees the other's write: either the driver finds the entries, or
     * the device interrupts it. With a weaker barrier, both reads could come first, and the driver
     * would wait for ever.
     */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (queue->event_idx) {
        uint16_t event = __atomic_load_n(used_event(queue), __ATOMIC_RELAXED);
        return vring_need_event(event, queue->next_used, before);
    }
    uint16_t flags = __atomic_load_n(&queue->available->flags, __ATOMIC_RELAXED);
    return !(flags & VRING_AVAIL_F_NO_INTERRUPT);
}

/* The device's event index or flag was written. */
static void kicks_tell(const struct virtqueue *queue)
{
    if (guest_memory_is_logged(queue->memory))
        guest_memory_tell(queue->memory, queue->used_gpa, used_bytes(queue->size));
}

void virtqueue_disable_kicks(struct virtqueue *queue)
{
    /*
     * With EVENT_IDX, avail_event stays at an entry that has been taken. The driver kicks when its
     * index passes that value, which takes 65,536 further entries.
     */
    if (queue->event_idx)
        return;
    __atomic_store_n(&queue->used->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
    kicks_tell(queue);
}

void virtqueue_enable_kicks(struct virtqueue *queue)
{
    if (queue->event_idx)
        __atomic_store_n(avail_event(queue), queue->next_available, __ATOMIC_RELAXED);
    else
        __atomic_store_n(&queue->used->flags, 0, __ATOMIC_RELAXED);
    kicks_tell(queue);
    /*
     * The driver moves its index, executes a full barrier, and checks whether the device wants a
     * kick. The device requests the kick, executes a full barrier, and then (in the caller) reads
     * the driver's index. At least one side sees the other's write.
     */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
