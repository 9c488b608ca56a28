/* A block device on a real file, and a driver that sends one request at a time. */
#ifndef TSVM_TEST_BLK_SETUP_H
#define TSVM_TEST_BLK_SETUP_H

#include "../src/virtio/blk.h"
#include "check.h"
#include "device_setup.h"
#include "host_file.h"

#define DISK_SIZE (1u << 20)
#define SECTORS (DISK_SIZE / 512)
#define SEG_MAX 4u
#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define FEATURES                                                                                   \
    (1u << VIRTIO_BLK_F_FLUSH | 1u << VIRTIO_BLK_F_DISCARD | 1u << VIRTIO_BLK_F_WRITE_ZEROES)

#define HEADER_GPA BUFFERS_GPA
#define STATUS_GPA (BUFFERS_GPA + 0x100)
#define DATA_GPA (BUFFERS_GPA + 0x1000)
#define NO_STATUS 0xee

struct setup {
    struct device_setup device;
    struct disk disk;
    struct blk blk;
    int fd;
    int script_event;
    uint32_t used_length; /* of the last request */
};

static inline void script_wake(void *context)
{
    eventfd_write(*(int *)context, 1);
}

static inline void setup_open(struct setup *s, bool read_only)
{
    static uint8_t content[DISK_SIZE];
    device_init(&s->device, 16);
    s->fd = host_file(DISK_SIZE);
    s->script_event = eventfd(0, EFD_NONBLOCK);
    pattern_fill(content, sizeof content, 1);
    CHECK(pwrite(s->fd, content, sizeof content, 0) == sizeof content);
    disk_init(&s->disk, DISK_SIZE, read_only, 0, (struct wake){script_wake, &s->script_event},
              (struct wake){0});
    struct blk_limits limits = {.id = "an id of twenty byte",
                                .seg_max = SEG_MAX,
                                .max_discard_sectors = 64,
                                .max_write_zeroes_sectors = 32,
                                .features = FEATURES};
    blk_init(&s->blk, &s->disk, &limits, NULL);
}

static inline void setup_start(struct setup *s, bool mapped, int (*create)(struct io_engine **))
{
    struct extent whole = {.length = DISK_SIZE, .fd = s->fd};
    if (mapped)
        CHECK(extent_map_push(&s->disk.extents, &whole, 1) == 0);
    CHECK(device_start(&s->device, &s->blk.handler, create) == 0);
}

static inline void setup_init(struct setup *s)
{
    setup_open(s, false);
    setup_start(s, true, io_engine_create_threads);
}

static inline void setup_close(struct setup *s)
{
    disk_destroy(&s->disk);
    device_free(&s->device);
    close(s->fd);
    close(s->script_event);
}

static inline void setup_free(struct setup *s)
{
    CHECK(device_stop(&s->device));
    setup_close(s);
}

static inline uint8_t *at(struct setup *s, uint64_t gpa)
{
    return driver_at(&s->device.driver, gpa);
}

static inline void set_header(struct setup *s, uint32_t type, uint64_t sector)
{
    *(struct virtio_blk_outhdr *)at(s, HEADER_GPA) =
        (struct virtio_blk_outhdr){.type = type, .sector = sector};
    *at(s, STATUS_GPA) = NO_STATUS;
}

static inline void describe(struct setup *s, uint16_t index, uint64_t gpa, uint32_t length,
                            uint16_t flags)
{
    driver_describe(&s->device.driver, index, gpa, length, flags, index + 1);
}

/* Offers chain 0 and returns its status. */
static inline uint8_t offer(struct setup *s)
{
    device_offer(&s->device, 0);
    struct vring_used_elem element = device_await_used(&s->device);
    CHECK(element.id == 0);
    s->used_length = element.len;
    return *at(s, STATUS_GPA);
}

/* A request of three descriptors: header, data (if any), status. */
static inline uint8_t request(struct setup *s, uint32_t type, uint64_t sector, uint32_t length,
                              uint16_t data_flags)
{
    set_header(s, type, sector);
    describe(s, 0, HEADER_GPA, 16, NEXT);
    describe(s, 1, DATA_GPA, length, NEXT | data_flags);
    describe(s, 2, STATUS_GPA, 1, WRITE);
    return offer(s);
}

static inline uint8_t read_sectors(struct setup *s, uint64_t sector, uint32_t length)
{
    return request(s, VIRTIO_BLK_T_IN, sector, length, WRITE);
}

static inline uint8_t write_sectors(struct setup *s, uint64_t sector, uint32_t length)
{
    return request(s, VIRTIO_BLK_T_OUT, sector, length, 0);
}

static inline uint8_t range_request(struct setup *s, uint32_t type, uint64_t sector,
                                    uint32_t sectors, uint32_t flags)
{
    *(struct virtio_blk_discard_write_zeroes *)at(s, DATA_GPA) =
        (struct virtio_blk_discard_write_zeroes){
            .sector = sector, .num_sectors = sectors, .flags = flags};
    return request(s, type, 0, 16, 0);
}

static inline bool file_is(struct setup *s, uint64_t offset, const void *bytes, size_t count)
{
    static uint8_t buffer[DISK_SIZE];
    return pread(s->fd, buffer, count, (off_t)offset) == (ssize_t)count &&
           memcmp(buffer, bytes, count) == 0;
}

#endif
