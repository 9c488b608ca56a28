#include "virtio_blk.h"

#include "cmdline.h"
#include "heap.h"
#include "timing.h"

static void limits_read(struct blk *blk)
{
    const struct virtio_device *device = blk->device;
    blk->capacity_sectors =
        virtio_config_read64(device, offsetof(struct virtio_blk_config, capacity));
    blk->segments_max = 1;
    if (blk_has(blk, VIRTIO_BLK_F_SEG_MAX))
        blk->segments_max =
            virtio_read(device, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_blk_config, seg_max));
    blk->queue_count = 1;
    if (blk_has(blk, VIRTIO_BLK_F_MQ)) {
        /* A 16-bit field, in the upper half of its word. */
        uint32_t word = virtio_read(
            device, VIRTIO_MMIO_CONFIG + (offsetof(struct virtio_blk_config, num_queues) & ~3u));
        blk->queue_count = word >> 16;
    }
    if (blk->queue_count > BLK_QUEUES_MAX)
        blk->queue_count = BLK_QUEUES_MAX;
}

bool blk_start(struct blk *blk, uint64_t features, bool interrupts)
{
    if (!virtio_device_negotiate(blk->device, features))
        return false;
    limits_read(blk);
    for (unsigned i = 0; i < blk->queue_count; i++)
        if (!virtqueue_start(&blk->queues[i], interrupts))
            return false;
    blk->form = blk->queues[0].indirect ? CHAIN_INDIRECT : CHAIN_DIRECT;
    virtio_device_ready(blk->device);
    return true;
}

bool blk_restart(struct blk *blk, bool interrupts)
{
    return blk_start(blk, BLK_FEATURES, interrupts);
}

bool blk_open(struct blk *blk)
{
    *blk = (struct blk){
        .device = virtio_device_by_id(VIRTIO_ID_BLOCK, (unsigned)cmdline_number("disk", 0)),
    };
    if (!blk->device)
        return false;
    blk->frame = heap_take(sizeof(*blk->frame), 64);
    for (uint16_t i = 0; i < BLK_QUEUES_MAX; i++)
        virtqueue_create(&blk->queues[i], blk->device, i);
    return blk_restart(blk, false);
}

bool blk_has(const struct blk *blk, unsigned feature_bit)
{
    return blk->device->features & VIRTIO_FEATURE(feature_bit);
}

int blk_add(struct blk *blk, struct virtqueue *queue, struct blk_frame *frame, uint32_t type,
            uint64_t sector, const struct segment *data, unsigned count)
{
    struct segment segments[BLK_SEGMENTS_MAX + 2];
    if (count > BLK_SEGMENTS_MAX)
        return -1;
    frame->header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
    frame->status = BLK_STATUS_NONE;
    segments[0] = (struct segment){&frame->header, sizeof(frame->header), 0};
    for (unsigned i = 0; i < count; i++)
        segments[1 + i] = data[i];
    segments[1 + count] = (struct segment){&frame->status, 1, VRING_DESC_F_WRITE};
    return virtqueue_add(queue, segments, count + 2, blk->form);
}

unsigned blk_request(struct blk *blk, uint32_t type, uint64_t sector, const struct segment *data,
                     unsigned count)
{
    struct virtqueue *queue = &blk->queues[0];
    if (blk_add(blk, queue, blk->frame, type, sector, data, count) < 0)
        return BLK_NO_ROOM;
    virtqueue_kick(queue);
    struct completion completion;
    for (uint64_t start = rdtsc(); !virtqueue_reap(queue, &completion); cpu_relax())
        if (timed_out(start))
            return BLK_TIMED_OUT;
    blk->used_length = completion.length;
    return blk->frame->status;
}

unsigned blk_read(struct blk *blk, uint64_t sector, void *buffer, uint32_t length)
{
    struct segment data = {buffer, length, VRING_DESC_F_WRITE};
    return blk_request(blk, VIRTIO_BLK_T_IN, sector, &data, 1);
}

unsigned blk_write(struct blk *blk, uint64_t sector, const void *buffer, uint32_t length)
{
    struct segment data = {(void *)buffer, length, 0};
    return blk_request(blk, VIRTIO_BLK_T_OUT, sector, &data, 1);
}

unsigned blk_flush(struct blk *blk)
{
    return blk_request(blk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
}
