#include "blk_request.h"

/* 5.2.4: the unit of `sector` and of data lengths, whatever blk_size says. */
#define SECTOR_SIZE 512u

static bool has_feature(const struct blk_limits *limits, unsigned bit)
{
    return limits->features & (1u << bit);
}

/* Sets the range in bytes; false when it cannot be one. */
static bool set_range(struct disk_request *disk, uint64_t sector, uint64_t sectors)
{
    if (sector > UINT64_MAX / SECTOR_SIZE)
        return false;
    disk->offset = sector * SECTOR_SIZE;
    disk->length = sectors * SECTOR_SIZE;
    return true;
}

/* The last byte of the device-writable part is the status; what comes before it is data. */
static uint8_t *take_status(struct iov_span *writable)
{
    if (writable->count == 0)
        return NULL;
    struct iovec *last = &writable->iov[writable->count - 1];
    uint8_t *status = (uint8_t *)last->iov_base + --last->iov_len;
    if (last->iov_len == 0)
        writable->count--;
    return status;
}

static int parse_transfer(struct disk_request *disk, uint64_t sector, const struct iov_span *data,
                          const struct blk_limits *limits)
{
    uint64_t bytes = iov_span_bytes(data);
    /* 5.2.6.1: "The length of data MUST be a multiple of 512 bytes". */
    if (bytes % SECTOR_SIZE != 0 || data->count > limits->seg_max)
        return VIRTIO_BLK_S_IOERR;
    if (!set_range(disk, sector, bytes / SECTOR_SIZE))
        return VIRTIO_BLK_S_IOERR;
    disk->buffers = *data;
    return BLK_REQUEST_TO_DISK;
}

/* DISCARD and WRITE_ZEROES: the data is one range, as max_discard_seg and the like promise. */
static int parse_range(struct disk_request *disk, struct iov_span *data,
                       const struct blk_limits *limits)
{
    bool discard = disk->op == DISK_DISCARD;
    struct virtio_blk_discard_write_zeroes range;
    if (!iov_span_take(data, &range, sizeof range) || data->count > 0)
        return VIRTIO_BLK_S_IOERR;
    /*
     * 5.2.6.2: "The device MUST set the status byte to VIRTIO_BLK_S_UNSUPP for discard, secure
     * erase and write zeroes commands if any unknown flag is set. Furthermore, the device MUST set
     * the status byte to VIRTIO_BLK_S_UNSUPP for discard commands if the unmap flag is set."
     */
    uint32_t known = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    if (range.flags & ~known)
        return VIRTIO_BLK_S_UNSUPP;
    uint32_t max = discard ? limits->max_discard_sectors : limits->max_write_zeroes_sectors;
    if (range.num_sectors > max || !set_range(disk, range.sector, range.num_sectors))
        return VIRTIO_BLK_S_IOERR;
    disk->may_unmap = range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    return BLK_REQUEST_TO_DISK;
}

int blk_request_parse(struct blk_request *request, const struct virtqueue_chain *chain,
                      const struct blk_limits *limits)
{
    struct disk_request *disk = &request->disk;
    struct iov_span readable = {.iov = request->iov, .count = chain->readable_count};
    struct iov_span writable = {.iov = request->iov + chain->readable_count,
                                .count = chain->writable_count};
    struct virtio_blk_outhdr header;
    request->head = chain->head;
    request->data_written = 0;
    request->status = take_status(&writable);
    disk->offset = disk->length = 0;
    disk->buffers = (struct iov_span){0};
    disk->may_unmap = false;
    /* Without a place for the status the driver could not be told of any failure: do nothing. */
    if (!request->status || !iov_span_take(&readable, &header, sizeof header))
        return VIRTIO_BLK_S_IOERR;
    /*
     * 5.2.6.2: a write is stable once it is completed if "VIRTIO_BLK_F_FLUSH was offered by the
     * device" and not negotiated: then the driver has no other way to make it so.
     */
    disk->stable = !has_feature(limits, VIRTIO_BLK_F_FLUSH);

    switch (header.type) {
    case VIRTIO_BLK_T_IN:
        disk->op = DISK_READ;
        request->data_written = (uint32_t)iov_span_bytes(&writable);
        return parse_transfer(disk, header.sector, &writable, limits);
    case VIRTIO_BLK_T_OUT:
        disk->op = DISK_WRITE;
        return parse_transfer(disk, header.sector, &readable, limits);
    case VIRTIO_BLK_T_FLUSH:
        disk->op = DISK_FLUSH;
        return BLK_REQUEST_TO_DISK;
    case VIRTIO_BLK_T_GET_ID:
        request->data_written = (uint32_t)iov_copy_to(&writable, limits->id, sizeof limits->id);
        return VIRTIO_BLK_S_OK;
    case VIRTIO_BLK_T_DISCARD:
        disk->op = DISK_DISCARD;
        return has_feature(limits, VIRTIO_BLK_F_DISCARD) ? parse_range(disk, &readable, limits)
                                                         : VIRTIO_BLK_S_UNSUPP;
    case VIRTIO_BLK_T_WRITE_ZEROES:
        disk->op = DISK_WRITE_ZEROES;
        return has_feature(limits, VIRTIO_BLK_F_WRITE_ZEROES) ? parse_range(disk, &readable, limits)
                                                              : VIRTIO_BLK_S_UNSUPP;
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}
