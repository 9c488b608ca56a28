#include "virtqueue.h"

#include "heap.h"
#include "string.h"

void virtqueue_create(struct virtqueue *queue, struct virtio_device *device, uint16_t index)
{
    *queue = (struct virtqueue){.device = device, .index = index};
    queue->descriptors = heap_take(VIRTQUEUE_SIZE_MAX * sizeof(struct vring_desc), 4096);
    /* Each ring has a field for the EVENT_IDX at its end. */
    queue->available = heap_take(6 + VIRTQUEUE_SIZE_MAX * sizeof(uint16_t), 4096);
    queue->used = heap_take(6 + VIRTQUEUE_SIZE_MAX * sizeof(struct vring_used_elem), 4096);
    queue->indirect_tables =
        heap_take(VIRTQUEUE_SIZE_MAX * INDIRECT_TABLE_ENTRIES * sizeof(struct vring_desc), 4096);
}

static void rings_empty(struct virtqueue *queue)
{
    memset(queue->descriptors, 0, queue->size * sizeof(struct vring_desc));
    memset(queue->available, 0, 6 + queue->size * sizeof(uint16_t));
    memset(queue->used, 0, 6 + queue->size * sizeof(struct vring_used_elem));
    for (uint16_t i = 0; i < queue->size; i++)
        queue->descriptors[i].next = (uint16_t)(i + 1);
    queue->free_head = 0;
    queue->free_count = queue->size;
    queue->next_available = queue->next_kick = queue->next_used = 0;
}

static uint16_t *used_event(const struct virtqueue *queue)
{
    return &queue->available->ring[queue->size];
}

static uint16_t *available_event(const struct virtqueue *queue)
{
    return (uint16_t *)&queue->used->ring[queue->size];
}

/* "The driver MUST ignore" the flag with EVENT_IDX (2.7.7.1); without interrupts wanted, the
 * event index stays half the number space away. */
static void interrupts_request(struct virtqueue *queue)
{
    if (queue->event_idx)
        *used_event(queue) = (uint16_t)(queue->next_used + (queue->interrupts ? 0 : 0x8000));
    else
        queue->available->flags = queue->interrupts ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
}

void virtqueue_want_interrupts(struct virtqueue *queue, bool wanted)
{
    queue->interrupts = wanted;
    interrupts_request(queue);
    /* The device publishes, then looks at our wish; we publish the wish, then look for completions:
     * one of the two sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool virtqueue_start(struct virtqueue *queue, bool interrupts)
{
    const struct virtio_device *device = queue->device;
    virtio_write(device, VIRTIO_MMIO_QUEUE_SEL, queue->index);
    uint32_t size_max = virtio_read(device, VIRTIO_MMIO_QUEUE_NUM_MAX);
    if (size_max == 0)
        return false;
    queue->size = (uint16_t)(size_max < VIRTQUEUE_SIZE_MAX ? size_max : VIRTQUEUE_SIZE_MAX);
    queue->event_idx = device->features & VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX);
    queue->indirect = device->features & VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC);
    queue->interrupts = interrupts;
    rings_empty(queue);
    interrupts_request(queue);
    virtio_write(device, VIRTIO_MMIO_QUEUE_NUM, queue->size);
    virtio_write64(device, VIRTIO_MMIO_QUEUE_DESC_LOW, (uintptr_t)queue->descriptors);
    virtio_write64(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uintptr_t)queue->available);
    virtio_write64(device, VIRTIO_MMIO_QUEUE_USED_LOW, (uintptr_t)queue->used);
    virtio_write(device, VIRTIO_MMIO_QUEUE_READY, 1);
    return true;
}

static void descriptor_fill(struct vring_desc *descriptor, const struct segment *segment)
{
    descriptor->addr = (uintptr_t)segment->address;
    descriptor->len = segment->length;
    descriptor->flags = segment->flags;
}

static void indirect_fill(struct virtqueue *queue, const struct segment *segments, unsigned count)
{
    struct vring_desc *table = &queue->indirect_tables[queue->free_head * INDIRECT_TABLE_ENTRIES];
    for (unsigned i = 0; i < count; i++) {
        descriptor_fill(&table[i], &segments[i]);
        table[i].next = (uint16_t)(i + 1);
        if (i + 1 < count)
            table[i].flags |= VRING_DESC_F_NEXT;
    }
    descriptor_fill(&queue->descriptors[queue->free_head],
                    &(struct segment){table, count * (uint32_t)sizeof(struct vring_desc),
                                      VRING_DESC_F_INDIRECT});
}

int virtqueue_add(struct virtqueue *queue, const struct segment *segments, unsigned count,
                  enum chain_form form)
{
    if (form == CHAIN_INDIRECT && (!queue->indirect || count > INDIRECT_TABLE_ENTRIES))
        return -1;
    unsigned taken = form == CHAIN_INDIRECT ? 1 : count;
    if (taken > queue->free_count)
        return -1;
    uint16_t head = queue->free_head, last = head;
    if (form == CHAIN_INDIRECT) {
        indirect_fill(queue, segments, count);
    } else {
        for (unsigned i = 0, at = head; i < count; i++) {
            last = (uint16_t)at;
            descriptor_fill(&queue->descriptors[at], &segments[i]);
            if (i + 1 < count)
                queue->descriptors[at].flags |= VRING_DESC_F_NEXT;
            at = queue->descriptors[at].next;
        }
    }
    queue->free_head = queue->descriptors[last].next;
    queue->free_count = (uint16_t)(queue->free_count - taken);
    queue->available->ring[queue->next_available++ % queue->size] = head;
    return head;
}

void virtqueue_notify(const struct virtqueue *queue)
{
    virtio_write(queue->device, VIRTIO_MMIO_QUEUE_NOTIFY, queue->index);
}

void virtqueue_kick(struct virtqueue *queue)
{
    /* The device reads the index first: what it stands for must be there before. */
    __atomic_store_n(&queue->available->idx, queue->next_available, __ATOMIC_RELEASE);
    /* The device publishes its wish, then looks at our index once more; we publish the index,
     * then look at its wish. With both full barriers one of the two sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t event = __atomic_load_n(available_event(queue), __ATOMIC_RELAXED);
    bool wanted =
        queue->event_idx
            ? vring_need_event(event, queue->next_available, queue->next_kick)
            : !(__atomic_load_n(&queue->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
    queue->next_kick = queue->next_available;
    if (wanted)
        virtqueue_notify(queue);
}

static void chain_free(struct virtqueue *queue, uint16_t head)
{
    uint16_t last = head, count = 1;
    while (queue->descriptors[last].flags & VRING_DESC_F_NEXT) {
        last = queue->descriptors[last].next;
        count++;
    }
    queue->descriptors[last].next = queue->free_head;
    queue->free_head = head;
    queue->free_count = (uint16_t)(queue->free_count + count);
}

bool virtqueue_reap(struct virtqueue *queue, struct completion *completion)
{
    /* Pairs with the device's release of the index after it filled the element. */
    if (__atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE) == queue->next_used)
        return false;
    const struct vring_used_elem *element = &queue->used->ring[queue->next_used++ % queue->size];
    *completion = (struct completion){(uint16_t)element->id, element->len};
    chain_free(queue, completion->head);
    interrupts_request(queue);
    return true;
}
