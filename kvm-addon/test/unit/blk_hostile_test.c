/* virtio-blk with requests that are wrong; each line of the threat model by name. */
#include <pthread.h>

#include "../../../test/vectors/hostile_block.h"
#include "../blk_setup.h"

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

static uint8_t hostile_request(struct setup *s, const struct hostile_block_request *hostile)
{
    uint64_t sector = hostile_block_sector(hostile, SECTORS);
    memset(at(s, DATA_GPA), 0, HOSTILE_BLOCK_DATA_MAX);
    if (hostile->has_range)
        return range_request(s, hostile->type, sector, hostile->range_length, hostile->range_flags);
    return request(s, hostile->type, sector, hostile->data_bytes, hostile->writable ? WRITE : 0);
}

static void hostile_requests_fail(void)
{
    static uint8_t before[DISK_SIZE];
    struct setup s;
    setup_init(&s);
    CHECK(pread(s.fd, before, sizeof before, 0) == sizeof before);
    for (unsigned i = 0; i < HOSTILE_BLOCK_REQUEST_COUNT; i++) {
        const struct hostile_block_request *hostile = &hostile_block_requests[i];
        uint8_t status = hostile_request(&s, hostile);
        if (!CHECK(status == hostile->status && s.used_length == 1))
            fprintf(stderr, "%s: status %u\n", hostile->id, status);
        CHECK(s.blk.statistics.errors == i + 1);
    }
    CHECK(file_is(&s, 0, before, sizeof before));
    CHECK(lseek(s.fd, 0, SEEK_END) == DISK_SIZE);
    CHECK(read_sectors(&s, 0, 0) == VIRTIO_BLK_S_OK); /* nothing was asked for */
    CHECK(read_sectors(&s, SECTORS - 1, 512) == VIRTIO_BLK_S_OK);
    setup_free(&s);
}

/* More than a range may have, on the disk. */
static void ranges_are_limited(void)
{
    struct setup s;
    setup_init(&s);
    CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, 0, 65, 0) == VIRTIO_BLK_S_IOERR);
    CHECK(range_request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 0, 33, 0) == VIRTIO_BLK_S_IOERR);
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

/* The guest rewrites a request that a script is handling: the original request is performed. */
static void request_changes_after_it_was_taken(void)
{
    struct setup s;
    setup_open(&s, false);
    setup_start(&s, false, io_engine_create_threads);
    set_header(&s, VIRTIO_BLK_T_IN, 2);
    describe(&s, 0, HEADER_GPA, 16, NEXT);
    describe(&s, 1, DATA_GPA, 512, NEXT | WRITE);
    describe(&s, 2, STATUS_GPA, 1, WRITE);
    device_offer(&s.device, 0);
    CHECK(event_wait(s.script_event, 60000));
    struct disk_script_request asked;
    CHECK(disk_script_take(&s.disk, &asked));

    set_header(&s, VIRTIO_BLK_T_OUT, UINT64_MAX);
    for (uint16_t i = 0; i < 3; i++)
        describe(&s, i, LOW_GPA + LOW_SIZE, UINT32_MAX, VRING_DESC_F_INDIRECT);
    struct extent whole = {.length = DISK_SIZE, .fd = s.fd};
    CHECK(extent_map_push(&s.disk.extents, &whole, 1) == 0);
    CHECK(disk_script_retry(&s.disk, asked.id) == 0);
    struct vring_used_elem element = device_await_used(&s.device);
    CHECK(element.id == 0 && element.len == 513);
    CHECK(*at(&s, STATUS_GPA) == VIRTIO_BLK_S_OK);
    CHECK(file_is(&s, 2 * 512, at(&s, DATA_GPA), 512));
    setup_free(&s);
}

struct scribbler {
    struct virtio_blk_outhdr *header;
    bool stop;
};

static void *scribble(void *argument)
{
    struct scribbler *scribbler = argument;
    for (unsigned i = 0; !__atomic_load_n(&scribbler->stop, __ATOMIC_RELAXED); i++) {
        __atomic_store_n(&scribbler->header->sector, i % 2 ? SECTORS : 0, __ATOMIC_RELAXED);
        __atomic_store_n(&scribbler->header->type, i % 3 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_FLUSH,
                         __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Each request is one of those that the header ever was, whichever. */
static void header_changes_while_it_is_checked(void)
{
    struct setup s;
    setup_init(&s);
    struct scribbler scribbler = {.header = (struct virtio_blk_outhdr *)at(&s, HEADER_GPA)};
    memset(at(&s, DATA_GPA), 0, 512);
    set_header(&s, VIRTIO_BLK_T_OUT, 0);
    describe(&s, 0, HEADER_GPA, 16, NEXT);
    describe(&s, 1, DATA_GPA, 512, NEXT);
    describe(&s, 2, STATUS_GPA, 1, WRITE);
    pthread_t thread;
    pthread_create(&thread, NULL, scribble, &scribbler);
    unsigned done = 0, refused = 0;
    for (unsigned i = 0; i < 5000; i++) {
        uint8_t status = offer(&s);
        done += status == VIRTIO_BLK_S_OK;
        refused += status == VIRTIO_BLK_S_IOERR;
    }
    __atomic_store_n(&scribbler.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(done + refused == 5000 && done > 0);
    CHECK(lseek(s.fd, 0, SEEK_END) == DISK_SIZE); /* nothing was written past the end */
    CHECK(read_sectors(&s, 1, 512) == VIRTIO_BLK_S_OK);
    CHECK(file_is(&s, 512, at(&s, DATA_GPA), 512));
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

int main(void)
{
    missing_status_byte();
    short_header();
    hostile_requests_fail();
    ranges_are_limited();
    too_many_segments();
    write_to_a_read_only_disk();
    request_changes_after_it_was_taken();
    header_changes_while_it_is_checked();
    broken_queue_ends_the_worker();
    return check_finish();
}
