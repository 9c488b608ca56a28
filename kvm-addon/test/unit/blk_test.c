/* virtio-blk through a queue worker. */
#include "../blk_setup.h"

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
    CHECK(event_wait(s.device.interrupt, 60000) && s.device.interrupt_status == 1);
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

static void discard_and_write_zeroes(void)
{
    struct setup s;
    static uint8_t zero[32 * 512];
    setup_init(&s);
    CHECK(range_request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 8, 32, 0) == VIRTIO_BLK_S_OK);
    CHECK(file_is(&s, 8 * 512, zero, sizeof zero) && !file_is(&s, 7 * 512, zero, 512));
    CHECK(range_request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 100, 1, 1) == VIRTIO_BLK_S_OK);
    CHECK(file_is(&s, 100 * 512, zero, 512) && !file_is(&s, 101 * 512, zero, 512));
    CHECK(range_request(&s, VIRTIO_BLK_T_DISCARD, 200, 64, 0) == VIRTIO_BLK_S_OK);
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

static int stop_event;

/* From here on the worker takes no chain; until here, it may. */
static void note_stop(struct queue_handler *handler)
{
    (void)handler;
    eventfd_write(stop_event, 1);
}

/* The worker ends only when the script has answered, and until then guest memory may be written. */
static void stop_waits_for_requests_in_flight(void)
{
    struct setup s;
    setup_open(&s, false);
    stop_event = eventfd(0, EFD_NONBLOCK);
    s.blk.handler.stop = note_stop;
    setup_start(&s, false, io_engine_create_threads);
    set_header(&s, VIRTIO_BLK_T_IN, 0);
    describe(&s, 0, HEADER_GPA, 16, NEXT);
    describe(&s, 1, DATA_GPA, 512, NEXT | WRITE);
    describe(&s, 2, STATUS_GPA, 1, WRITE);
    device_offer(&s.device, 0);
    CHECK(event_wait(s.script_event, 60000));
    struct disk_script_request asked;
    CHECK(disk_script_take(&s.disk, &asked));

    queue_worker_stop(&s.device.worker);
    CHECK(event_wait(stop_event, 60000));
    CHECK(!event_wait(s.device.ended_event, 50));
    device_offer(&s.device, 0); /* too late: stays where it is */
    CHECK(*at(&s, STATUS_GPA) == NO_STATUS);
    uint8_t data[512] = {1, 2, 3};
    CHECK(disk_script_finish(&s.disk, asked.id, 0, data, 512) == 0);
    CHECK(device_await_end(&s.device));
    queue_worker_free(&s.device.worker);
    CHECK(*at(&s, STATUS_GPA) == VIRTIO_BLK_S_OK && memcmp(at(&s, DATA_GPA), data, 512) == 0);
    CHECK(s.device.driver.used->idx == 1);

    /* A new start continues with the remaining chains, as after a pause. */
    setup_start(&s, true, io_engine_create_threads);
    device_await_used(&s.device);
    CHECK(device_await_used(&s.device).id == 0);
    setup_free(&s);
    close(stop_event);
}

int main(void)
{
    reads_and_writes();
    interrupt_comes_with_its_status();
    get_id();
    header_in_one_byte_per_descriptor();
    header_and_data_in_one_descriptor();
    discard_and_write_zeroes();
    features_not_negotiated();
    stop_waits_for_requests_in_flight();
    return check_finish();
}
