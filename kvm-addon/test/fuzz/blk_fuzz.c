/*
 * The data plane of virtio-blk, from the rings to the engine, against a hostile driver, a host
 * whose files fail, and a script that answers arbitrarily. It must stay within guest memory and the
 * extents, and return every chain.
 */

#include "../../src/virtio/blk.h"
#include "hostile_driver.h"
#include "model_disk.h"

#define STEPS_MAX 1000u
#define ASKED_MAX QUEUE_SIZE_MAX

/* Number of further allocations that fail. */
static unsigned allocations_to_fail;

/* The linker replaces malloc and realloc by these (--wrap). */
void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);

void *__wrap_malloc(size_t size)
{
    return allocations_to_fail > 0 && allocations_to_fail-- ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return allocations_to_fail > 0 && allocations_to_fail-- ? NULL : __real_realloc(memory, size);
}

struct device {
    struct queue_worker worker;
    struct hostile_driver driver;
    struct model_disk model;
    struct blk blk;
    struct disk_script_request asked[ASKED_MAX]; /* taken by the script and not answered yet */
    unsigned asked_count;
};

/*
 * Makes a request available as a driver does: header, data in several segments, status. The input
 * determines its address and content; other steps change it before or after it is taken.
 */
static void driver_request(struct hostile_driver *driver, struct fuzz_input *input)
{
    static const uint32_t TYPES[] = {
        VIRTIO_BLK_T_IN,    VIRTIO_BLK_T_OUT,    VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,
        VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
    uint8_t kind = input_u8(input), shape = input_u8(input);
    uint64_t sector = input_u8(input);
    if (sector == UINT8_MAX)
        sector = input_u64(input);
    uint32_t type = TYPES[kind & 7];
    bool range = type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
    bool writable = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    unsigned segments = shape & 3, head = (kind >> 3) & (driver->config.size - 1);
    uint64_t gpa = 0x4000 + head * 0x400u, data = gpa + 0x100;

    struct virtio_blk_outhdr header = {.type = type, .sector = sector};
    struct virtio_blk_discard_write_zeroes zeroes = {
        .sector = sector, .num_sectors = shape >> 2, .flags = shape >> 7};
    driver_write(gpa, &header, sizeof header);
    if (range) {
        driver_write(data, &zeroes, sizeof zeroes);
        segments = 1;
    }
    uint64_t table = driver->config.descriptor_gpa + head * 16u;
    uint16_t next = (uint16_t)head;
    if (shape & 128 && driver->config.indirect) {
        descriptor_write(table, gpa + 0x20, (segments + 2) * 16, VRING_DESC_F_INDIRECT, 0);
        table = gpa + 0x20;
        next = 0;
    }
    descriptor_write(table, gpa, sizeof header, VRING_DESC_F_NEXT, ++next);
    for (unsigned i = 1; i <= segments; i++) {
        uint32_t length = range ? sizeof zeroes : (shape >> 2 & 7) * SECTOR + (shape >> 5 & 1);
        if (i < segments && shape & 64) /* split where no sector ends */
            length = 100;
        descriptor_write(table + i * 16, data, length,
                         VRING_DESC_F_NEXT | (writable ? VRING_DESC_F_WRITE : 0), ++next);
        data += length;
    }
    descriptor_write(table + (segments + 1) * 16, gpa + 16, 1, VRING_DESC_F_WRITE, 0);
    driver_offer(driver, (uint16_t)head);
}

/* Takes new script requests. */
static void script_take(struct device *device)
{
    struct disk_script_request asked;
    while (disk_script_take(&device->model.disk, &asked)) {
        REQUIRE(device->asked_count < ASKED_MAX);
        REQUIRE(asked.op == DISK_READ || asked.op == DISK_FLUSH || !device->model.disk.read_only);
        REQUIRE(asked.length <= SECTORS * SECTOR);
        REQUIRE(asked.offset <= SECTORS * SECTOR - asked.length);
        REQUIRE(asked.op == DISK_FLUSH || asked.length == 0 ||
                asked.gap_offset - asked.offset < asked.length);
        device->asked[device->asked_count++] = asked;
    }
}

static void script_check_data(struct disk *disk, const struct disk_script_request *asked)
{
    static uint8_t data[SECTORS * SECTOR];
    bool write = asked->op == DISK_WRITE;
    REQUIRE(disk_script_data_bytes(disk, asked->id) == (write ? (int64_t)asked->length : -EINVAL));
    REQUIRE(disk_script_copy_data(disk, asked->id, data, asked->length) == (write ? 0 : -EINVAL));
    REQUIRE(disk_script_copy_data(disk, asked->id, data, asked->length + 1) == -EINVAL);
}

/* Answers any request. Wrong answers must be refused, and a valid one is then still possible. */
static void script_answer(struct device *device, uint8_t which, uint8_t answer)
{
    static uint8_t data[SECTORS * SECTOR + 1];
    struct disk *disk = &device->model.disk;
    script_take(device);
    if (device->asked_count == 0)
        return;
    unsigned index = which % device->asked_count;
    struct disk_script_request asked = device->asked[index];
    bool read = asked.op == DISK_READ;
    script_check_data(disk, &asked);
    REQUIRE(disk_script_finish(disk, asked.id, 0, data, asked.length + 1) == -EINVAL);
    REQUIRE(disk_script_finish(disk, asked.id, -EIO, data, asked.length) == -EINVAL);
    if (read)
        REQUIRE(disk_script_finish(disk, asked.id, 0, NULL, 0) == -EINVAL);
    device->asked[index] = device->asked[--device->asked_count];
    if (answer % 4 == 0)
        REQUIRE(disk_script_finish(disk, asked.id, -ENOSPC, NULL, 0) == 0);
    else if (answer % 4 == 1)
        REQUIRE(disk_script_finish(disk, asked.id, 0, read ? data : NULL,
                                   read ? asked.length : 0) == 0);
    else
        REQUIRE(disk_script_retry(disk, asked.id) == 0);
    REQUIRE(disk_script_retry(disk, asked.id) == -EINVAL);
}

static void device_step(struct device *device, struct fuzz_input *input)
{
    struct queue_handler *handler = &device->blk.handler;
    uint8_t kind = input_u8(input);
    switch (kind & 15) {
    case 0:
    case 1:
        handler->serve(handler, device->worker.queues, 1 + (kind >> 4));
        break;
    case 2:
        handler->exchange(handler);
        break;
    case 3:
    case 4:
        model_run(&device->model, kind >> 4, input_u8(input));
        break;
    case 5:
    case 6:
        script_answer(device, kind >> 4, input_u8(input));
        break;
    case 7:
        virtqueue_publish(device->worker.queues);
        break;
    case 8:
    case 9:
        model_step(&device->model, input);
        break;
    case 10:
        allocations_to_fail = kind >> 4;
        break;
    case 11:
        driver_step(&device->driver, input);
        break;
    default:
        driver_request(&device->driver, input);
    }
}

/* Stops like a worker: takes no more chains and waits for those in flight. */
static void device_drain(struct device *device)
{
    struct queue_handler *handler = &device->blk.handler;
    allocations_to_fail = 0;
    /* A request has a step for a stable write; each step has its pieces and its answers of the
     * script. */
    for (unsigned turn = 0; turn < 4 * QUEUE_SIZE_MAX && device->worker.queues[0].in_flight > 0;
         turn++) {
        handler->exchange(handler);
        script_take(device);
        while (device->asked_count > 0)
            script_answer(device, 0, 1);
        while (device->model.count > 0)
            model_run(&device->model, 0, 15);
        virtqueue_publish(device->worker.queues);
    }
    REQUIRE(device->worker.queues[0].in_flight == 0 && device->asked_count == 0 &&
            device->model.count == 0);
    REQUIRE(!handler->has_answers(handler));
    model_settle(&device->model);
    const struct extent_use *uses = &device->model.disk.extents.uses;
    REQUIRE(uses->next == uses);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct blk_limits LIMITS = {
        .id = "fuzz", .seg_max = 8, .max_discard_sectors = 64, .max_write_zeroes_sectors = 64};
    static struct device device;
    struct fuzz_input input = {.data = data, .size = size};
    struct queue_worker *worker = &device.worker;
    if (!worker->options.engine) {
        REQUIRE(event_loop_init(&worker->loop) == 0);
        worker->options =
            (struct queue_worker_options){.queue_count = 1, .engine = &device.model.engine};
    }
    device.asked_count = 0;
    if (!driver_init(&device.driver, device.worker.queues, &input))
        return 0;
    uint8_t kind = input_u8(&input);
    model_init(&device.model, (kind & 7) == 7, driver_owns);
    blk_init(&device.blk, &device.model.disk, &LIMITS, NULL);
    /* FLUSH not negotiated: every write is followed by one. */
    device.blk.limits.features = 1u << VIRTIO_BLK_F_DISCARD | 1u << VIRTIO_BLK_F_WRITE_ZEROES |
                                 (kind & 16 ? 1u << VIRTIO_BLK_F_FLUSH : 0);
    struct queue_handler *handler = &device.blk.handler;
    REQUIRE(handler->start(handler, worker) == 0);
    for (unsigned step = 0; step < STEPS_MAX && input.size > 0; step++)
        device_step(&device, &input);
    device_drain(&device);
    handler->free(handler);
    disk_destroy(&device.model.disk);
    return 0;
}
