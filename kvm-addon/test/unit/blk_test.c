/* virtio-blk through a queue worker, with a driver that does what it may, and what it may not. */
#include <fcntl.h>

#include "../../src/virtio/blk.h"
#include "../check.h"
#include "../device_setup.h"
#include "../host_file.h"

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

static void script_wake(void *context)
{
    eventfd_write(*(int *)context, 1);
}

static void setup_open(struct setup *s, bool read_only)
{
    static uint8_t content[DISK_SIZE];
    device_init(&s->device, 16);
    s->fd = host_file(DISK_SIZE);
    s->script_event = eventfd(0, EFD_NONBLOCK);
    pattern_fill(content, sizeof(content), 1);
    CHECK(pwrite(s->fd, content, sizeof(content), 0) == sizeof(content));
    disk_init(&s->disk, DISK_SIZE, read_only, 0, (struct wake){script_wake, &s->script_event},
              (struct wake){0});
    struct blk_limits limits = {.id = "an id of twenty byte",
                                .seg_max = SEG_MAX,
                                .max_discard_sectors = 64,
                                .max_write_zeroes_sectors = 32,
                                .features = FEATURES};
    blk_init(&s->blk, &s->disk, &limits);
}

static void setup_start(struct setup *s, bool mapped, int (*create)(struct io_engine **))
{
    struct extent whole = {.length = DISK_SIZE, .fd = s->fd};
    if (mapped)
        CHECK(extent_map_push(&s->disk.extents, &whole, 1) == 0);
    CHECK(device_start(&s->device, &s->blk.handler, create) == 0);
}

static void setup_init(struct setup *s)
{
    setup_open(s, false);
    setup_start(s, true, io_engine_create_threads);
}

static void setup_close(struct setup *s)
{
    disk_destroy(&s->disk);
    device_free(&s->device);
    close(s->fd);
    close(s->script_event);
}

static void setup_free(struct setup *s)
{
    CHECK(device_stop(&s->device));
    setup_close(s);
}

static uint8_t *at(struct setup *s, uint64_t gpa)
{
    return driver_at(&s->device.driver, gpa);
}

static void set_header(struct setup *s, uint32_t type, uint64_t sector)
{
    *(struct virtio_blk_outhdr *)at(s, HEADER_GPA) =
        (struct virtio_blk_outhdr){.type = type, .sector = sector};
    *at(s, STATUS_GPA) = NO_STATUS;
}

static void describe(struct setup *s, uint16_t index, uint64_t gpa, uint32_t length, uint16_t flags)
{
    driver_describe(&s->device.driver, index, gpa, length, flags, index + 1);
}

/* Offers chain 0 and returns its status. */
static uint8_t offer(struct setup *s)
{
    device_offer(&s->device, 0);
    struct vring_used_elem element = device_await_used(&s->device);
    CHECK(element.id == 0);
    s->used_length = element.len;
    return *at(s, STATUS_GPA);
}

/* A request of three descriptors: header, data (if any), status. */
static uint8_t request(struct setup *s, uint32_t type, uint64_t sector, uint32_t length,
                       uint16_t data_flags)
{
    set_header(s, type, sector);
    describe(s, 0, HEADER_GPA, 16, NEXT);
    describe(s, 1, DATA_GPA, length, NEXT | data_flags);
    describe(s, 2, STATUS_GPA, 1, WRITE);
    return offer(s);
}

static uint8_t read_sectors(struct setup *s, uint64_t sector, uint32_t length)
{
    return request(s, VIRTIO_BLK_T_IN, sector, length, WRITE);
}

static uint8_t write_sectors(struct setup *s, uint64_t sector, uint32_t length)
{
    return request(s, VIRTIO_BLK_T_OUT, sector, length, 0);
}

static uint8_t range_request(struct setup *s, uint32_t type, uint64_t sector, uint32_t sectors,
                             uint32_t flags)
{
    *(struct virtio_blk_discard_write_zeroes *)at(s, DATA_GPA) =
        (struct virtio_blk_discard_write_zeroes){
            .sector = sector, .num_sectors = sectors, .flags = flags};
    return request(s, type, 0, 16, 0);
}

static bool file_is(struct setup *s, uint64_t offset, const void *bytes, size_t count)
{
    static uint8_t buffer[DISK_SIZE];
    return pread(s->fd, buffer, count, (off_t)offset) == (ssize_t)count &&
           memcmp(buffer, bytes, count) == 0;
}

static void reads_and_writes(void)
{
    struct setup s;
    setup_init(&s);
    CHECK(read_sectors(&s, 8, 4096) == VIRTIO_BLK_S_OK);
    CHECK(s.used_length == 4097);
    CHECK(file_is(&s, 4096, at(&s, DATA_GPA), 4096));
    pattern_fill(at(&s, DATA_GPA), 4096, 99);
    CHECK(write_sectors(&s, SECTORS - 8, 4096) == VIRTIO_BLK_S_OK);
    CHECK(s.used_length == 1);
    CHECK(file_is(&s, DISK_SIZE - 4096, at(&s, DATA_GPA), 4096));
    CHECK(request(&s, VIRTIO_BLK_T_FLUSH, 0, 0, 0) == VIRTIO_BLK_S_OK);
    CHECK(s.blk.statistics.reads == 1 && s.blk.statistics.written_bytes == 4096);
    setup_free(&s);
}

/* 4.2.2: bit 0 of InterruptStatus says that buffers were used. */
static void interrupt_comes_with_its_status(void)
{
    struct setup s;
    setup_init(&s);
    driver_set_used_event(&s.device.driver, 1); /* not for the first */
    CHECK(read_sectors(&s, 0, 512) == VIRTIO_BLK_S_OK);
    CHECK(!event_wait(s.device.interrupt, 20) && s.device.interrupt_status == 0);
    CHECK(read_sectors(&s, 0, 512) == VIRTIO_BLK_S_OK);
    CHECK(event_wait(s.device.interrupt, 10000) && s.device.interrupt_status == 1);
    setup_free(&s);
}

static void get_id(void)
{
    struct setup s;
    setup_init(&s);
    memset(at(&s, DATA_GPA), 0xff, 32);
    CHECK(request(&s, VIRTIO_BLK_T_GET_ID, 0, 20, WRITE) == VIRTIO_BLK_S_OK);
    CHECK(s.used_length == 21 && memcmp(at(&s, DATA_GPA), "an id of twenty byte\xff", 21) == 0);
    memset(at(&s, DATA_GPA), 0xff, 32);
    CHECK(request(&s, VIRTIO_BLK_T_GET_ID, 0, 3, WRITE) == VIRTIO_BLK_S_OK);
    CHECK(s.used_length == 4 && memcmp(at(&s, DATA_GPA), "an \xff", 4) == 0);
    setup_free(&s);
}

static void header_in_one_byte_per_descriptor(void)
{
    struct setup s;
    setup_open(&s, false);
    device_free(&s.device);
    device_init(&s.device, 32);
    setup_start(&s, true, io_engine_create_threads);
    set_header(&s, VIRTIO_BLK_T_IN, 3);
    for (uint16_t i = 0; i < 16; i++)
        describe(&s, i, HEADER_GPA + i, 1, NEXT);
    describe(&s, 16, DATA_GPA, 511, NEXT | WRITE);
    /* The last byte of the data and the status share a descriptor. */
    describe(&s, 17, STATUS_GPA - 1, 2, WRITE);
    CHECK(offer(&s) == VIRTIO_BLK_S_OK);
    CHECK(s.used_length == 513);
    CHECK(file_is(&s, 3 * 512, at(&s, DATA_GPA), 511));
    CHECK(file_is(&s, 3 * 512 + 511, at(&s, STATUS_GPA - 1), 1));
    setup_free(&s);
}

/* Header and data in one buffer, as a driver may lay them out. */
static void header_and_data_in_one_descriptor(void)
{
    struct setup s;
    setup_init(&s);
    set_header(&s, VIRTIO_BLK_T_OUT, 5);
    pattern_fill(at(&s, STATUS_GPA + 0x100), 512, 42);
    memmove(at(&s, HEADER_GPA + 16), at(&s, STATUS_GPA + 0x100), 512);
    driver_describe(&s.device.driver, 0, HEADER_GPA, 16 + 512, NEXT, 1);
    driver_describe(&s.device.driver, 1, DATA_GPA, 1, WRITE, 0);
    *at(&s, DATA_GPA) = NO_STATUS;
    offer(&s);
    CHECK(*at(&s, DATA_GPA) == VIRTIO_BLK_S_OK);
    CHECK(file_is(&s, 5 * 512, at(&s, HEADER_GPA + 16), 512));
    setup_free(&s);
}

static void missing_status_byte(void)
{
    struct setup s;
    setup_init(&s);
    set_header(&s, VIRTIO_BLK_T_OUT, 0);
    memset(at(&s, DATA_GPA), 0, 512);
    describe(&s, 0, HEADER_GPA, 16, NEXT);
    describe(&s, 1, DATA_GPA, 512, 0);
    CHECK(offer(&s) == NO_STATUS);
    CHECK(s.used_length == 0); /* the chain comes back all the same */
    uint8_t zero[512] = {0};
    CHECK(!file_is(&s, 0, zero, 512)); /* and nothing was written */
    CHECK(read_sectors(&s, 0, 512) == VIRTIO_BLK_S_OK);
    setup_free(&s);
}

static void short_header(void)
{
    struct setup s;
    setup_init(&s);
    set_header(&s, VIRTIO_BLK_T_IN, 0);
    describe(&s, 0, HEADER_GPA, 15, NEXT);
    describe(&s, 1, DATA_GPA, 512, NEXT | WRITE);
    describe(&s, 2, STATUS_GPA, 1, WRITE);
    CHECK(offer(&s) == VIRTIO_BLK_S_IOERR && s.used_length == 1);
    describe(&s, 0, STATUS_GPA, 1, WRITE); /* nothing but a status */
    CHECK(offer(&s) == VIRTIO_BLK_S_IOERR && s.used_length == 1);
    setup_free(&s);
}

static void sector_and_length_past_the_end(void)
{
    struct setup s;
    setup_init(&s);
    CHECK(read_sectors(&s, SECTORS - 1, 512) == VIRTIO_BLK_S_OK);
    CHECK(read_sectors(&s, SECTORS - 1, 1024) == VIRTIO_BLK_S_IOERR && s.used_length == 1);
    CHECK(read_sectors(&s, SECTORS, 512) == VIRTIO_BLK_S_IOERR);
    CHECK(write_sectors(&s, SECTORS, 512) == VIRTIO_BLK_S_IOERR);
    setup_free(&s);
}

/* Sectors whose offset in bytes, or whose end, does not fit 64 bits; and 2^32, which does. */
static void sector_overflows(void)
{
    struct setup s;
    setup_init(&s);
    const uint64_t sectors[] = {UINT64_MAX, UINT64_MAX / 512, UINT64_MAX / 512 + 1,
                                (uint64_t)1 << 55, (uint64_t)1 << 32};
    for (unsigned i = 0; i < sizeof(sectors) / sizeof(sectors[0]); i++) {
        CHECK(read_sectors(&s, sectors[i], 512) == VIRTIO_BLK_S_IOERR);
        CHECK(write_sectors(&s, sectors[i], 512) == VIRTIO_BLK_S_IOERR);
        CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, sectors[i], 1, 0) == VIRTIO_BLK_S_IOERR);
    }
    setup_free(&s);
}

static void length_not_a_multiple_of_512(void)
{
    struct setup s;
    setup_init(&s);
    const uint32_t lengths[] = {1, 511, 513, 1000};
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        CHECK(read_sectors(&s, 0, lengths[i]) == VIRTIO_BLK_S_IOERR);
        CHECK(write_sectors(&s, 0, lengths[i]) == VIRTIO_BLK_S_IOERR);
    }
    CHECK(read_sectors(&s, 0, 0) == VIRTIO_BLK_S_OK); /* nothing was asked for */
    setup_free(&s);
}

static void too_many_segments(void)
{
    struct setup s;
    setup_init(&s);
    for (uint16_t segments = SEG_MAX; segments <= SEG_MAX + 1; segments++) {
        set_header(&s, VIRTIO_BLK_T_IN, 0);
        describe(&s, 0, HEADER_GPA, 16, NEXT);
        for (uint16_t i = 1; i <= segments; i++)
            describe(&s, i, DATA_GPA + i * 512u, 512, NEXT | WRITE);
        describe(&s, segments + 1, STATUS_GPA, 1, WRITE);
        CHECK(offer(&s) == (segments == SEG_MAX ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR));
    }
    setup_free(&s);
}

static void write_to_a_read_only_disk(void)
{
    struct setup s;
    setup_open(&s, true);
    setup_start(&s, true, io_engine_create_threads);
    memset(at(&s, DATA_GPA), 0, 512);
    uint8_t zero[512] = {0};
    CHECK(write_sectors(&s, 0, 512) == VIRTIO_BLK_S_IOERR);
    CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, 0, 1, 0) == VIRTIO_BLK_S_IOERR);
    CHECK(range_request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0) == VIRTIO_BLK_S_IOERR);
    CHECK(!file_is(&s, 0, zero, 512));
    CHECK(read_sectors(&s, 0, 512) == VIRTIO_BLK_S_OK);
    setup_free(&s);
}

static void unknown_types(void)
{
    struct setup s;
    setup_init(&s);
    const uint32_t types[] = {2, 3, 5, 9, 14, 0x80000000, UINT32_MAX};
    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        CHECK(request(&s, types[i], 0, 512, 0) == VIRTIO_BLK_S_UNSUPP && s.used_length == 1);
    setup_free(&s);
}

static void discard_and_write_zeroes(void)
{
    struct setup s;
    static uint8_t zero[32 * 512];
    setup_init(&s);
    CHECK(range_request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 8, 32, 0) == VIRTIO_BLK_S_OK);
    CHECK(file_is(&s, 8 * 512, zero, sizeof(zero)) && !file_is(&s, 7 * 512, zero, 512));
    CHECK(range_request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 100, 1, 1) == VIRTIO_BLK_S_OK);
    CHECK(file_is(&s, 100 * 512, zero, 512) && !file_is(&s, 101 * 512, zero, 512));
    CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, 200, 64, 0) == VIRTIO_BLK_S_OK);
    setup_free(&s);
}

static void discard_segments_out_of_range(void)
{
    struct setup s;
    setup_init(&s);
    uint8_t before[512];
    CHECK(pread(s.fd, before, 512, 0) == 512);
    CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, SECTORS - 1, 2, 0) == VIRTIO_BLK_S_IOERR);
    CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, 0, 65, 0) == VIRTIO_BLK_S_IOERR);
    CHECK(range_request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 0, 33, 0) == VIRTIO_BLK_S_IOERR);
    CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0) == VIRTIO_BLK_S_IOERR);
    CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, 0, 1, 1) == VIRTIO_BLK_S_UNSUPP);
    CHECK(range_request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 2) == VIRTIO_BLK_S_UNSUPP);
    CHECK(request(&s, VIRTIO_BLK_T_DISCARD, 0, 15, 0) == VIRTIO_BLK_S_IOERR);
    CHECK(request(&s, VIRTIO_BLK_T_DISCARD, 0, 32, 0) == VIRTIO_BLK_S_IOERR); /* two segments */
    CHECK(request(&s, VIRTIO_BLK_T_DISCARD, 0, 0, 0) == VIRTIO_BLK_S_IOERR);
    CHECK(file_is(&s, 0, before, 512));
    setup_free(&s);
}

static void features_not_negotiated(void)
{
    struct setup s;
    setup_open(&s, false);
    s.blk.limits.features = 0;
    setup_start(&s, true, io_engine_create_threads);
    CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, 0, 1, 0) == VIRTIO_BLK_S_UNSUPP);
    CHECK(range_request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0) == VIRTIO_BLK_S_UNSUPP);
    CHECK(write_sectors(&s, 0, 512) == VIRTIO_BLK_S_OK); /* and synced */
    setup_free(&s);
}

static void broken_queue_ends_the_worker(void)
{
    struct setup s;
    setup_init(&s);
    CHECK(read_sectors(&s, 0, 512) == VIRTIO_BLK_S_OK);
    device_offer(&s.device, 999);
    CHECK(device_await_end(&s.device));
    CHECK(queue_worker_broken(&s.device.worker) != NULL);
    queue_worker_free(&s.device.worker);
    setup_close(&s);
}

/* The worker ends only when the script has answered, and until then guest memory may be written. */
static void stop_waits_for_requests_in_flight(void)
{
    struct setup s;
    setup_open(&s, false);
    setup_start(&s, false, io_engine_create_threads);
    set_header(&s, VIRTIO_BLK_T_IN, 0);
    describe(&s, 0, HEADER_GPA, 16, NEXT);
    describe(&s, 1, DATA_GPA, 512, NEXT | WRITE);
    describe(&s, 2, STATUS_GPA, 1, WRITE);
    device_offer(&s.device, 0);
    CHECK(event_wait(s.script_event, 10000));
    struct disk_script_request asked;
    CHECK(disk_script_take(&s.disk, &asked));

    queue_worker_stop(&s.device.worker);
    CHECK(!event_wait(s.device.ended_event, 50));
    device_offer(&s.device, 0); /* too late: stays where it is */
    CHECK(*at(&s, STATUS_GPA) == NO_STATUS);
    uint8_t data[512] = {1, 2, 3};
    CHECK(disk_script_finish(&s.disk, asked.id, 0, data, 512) == 0);
    CHECK(device_await_end(&s.device));
    queue_worker_free(&s.device.worker);
    CHECK(*at(&s, STATUS_GPA) == VIRTIO_BLK_S_OK && memcmp(at(&s, DATA_GPA), data, 512) == 0);
    CHECK(s.device.driver.used->idx == 1);

    /* A new start goes on with what was left: this is how a pause ends. */
    setup_start(&s, true, io_engine_create_threads);
    device_await_used(&s.device);
    CHECK(device_await_used(&s.device).id == 0);
    setup_free(&s);
}

int main(void)
{
    reads_and_writes();
    interrupt_comes_with_its_status();
    get_id();
    header_in_one_byte_per_descriptor();
    header_and_data_in_one_descriptor();
    missing_status_byte();
    short_header();
    sector_and_length_past_the_end();
    sector_overflows();
    length_not_a_multiple_of_512();
    too_many_segments();
    write_to_a_read_only_disk();
    unknown_types();
    discard_and_write_zeroes();
    discard_segments_out_of_range();
    features_not_negotiated();
    broken_queue_ends_the_worker();
    stop_waits_for_requests_in_flight();
    return check_finish();
}
