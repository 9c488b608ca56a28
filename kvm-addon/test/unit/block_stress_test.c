/*
 * Random requests, several in flight, against a model of the disk, while a script maps, unmaps and
 * moves the extents under them. With both engines, with and without EVENT_IDX, and with a driver
 * that sleeps until it is interrupted.
 */
#include <fcntl.h>
#include <pthread.h>

#include "../../src/virtio/blk.h"
#include "../check.h"
#include "../device_setup.h"
#include "../host_file.h"

#define SLOTS 8u /* requests in flight; each has a part of the disk to itself */
#define SLOT_BYTES (128u * 1024)
#define DISK_BYTES (SLOTS * SLOT_BYTES)
#define CHUNK_BYTES (16u * 1024) /* unit in which the script maps and moves data */
#define CHUNKS (DISK_BYTES / CHUNK_BYTES)
#define LENGTH_MAX 40000u
#define REQUESTS 1500u

#define SLOT_GPA(slot) (BUFFERS_GPA + (slot)*0x20000u)
#define DATA_OFFSET 0x1000u

struct script {
    struct disk *disk;
    int fd;
    int event;
    bool stop;
    unsigned seed;
    bool moved[CHUNKS]; /* the chunk is in the second half of the file */
    unsigned answered;
    unsigned moves;
};

struct slot {
    uint32_t type;
    uint64_t offset;
    uint32_t length;
};

struct stress {
    struct device_setup device;
    struct disk disk;
    struct blk blk;
    struct script script;
    unsigned seed;
    uint8_t model[DISK_BYTES];
    struct slot slots[SLOTS];
    unsigned bad;
};

static uint64_t chunk_place(const struct script *script, unsigned chunk)
{
    return (uint64_t)chunk * CHUNK_BYTES + (script->moved[chunk] ? DISK_BYTES : 0);
}

static void chunk_push(struct script *script, unsigned chunk)
{
    struct extent extent = {.offset = (uint64_t)chunk * CHUNK_BYTES,
                            .length = CHUNK_BYTES,
                            .fd = script->fd,
                            .fd_offset = chunk_place(script, chunk)};
    extent_map_push(&script->disk->extents, &extent, 1);
}

/* Moves a chunk's data. What still used the old place after the withdrawal would lose it. */
static void chunk_move(struct script *script, unsigned chunk)
{
    uint8_t data[CHUNK_BYTES];
    uint64_t ticket =
        extent_map_withdraw(&script->disk->extents, (uint64_t)chunk * CHUNK_BYTES, CHUNK_BYTES);
    while (!extent_map_is_quiet(&script->disk->extents, ticket))
        sched_yield();
    bool good = pread(script->fd, data, CHUNK_BYTES, (off_t)chunk_place(script, chunk)) > 0;
    uint64_t old = chunk_place(script, chunk);
    script->moved[chunk] = !script->moved[chunk];
    good &= pwrite(script->fd, data, CHUNK_BYTES, (off_t)chunk_place(script, chunk)) > 0;
    memset(data, 0xdb, sizeof data);
    good &= pwrite(script->fd, data, CHUNK_BYTES, (off_t)old) > 0;
    if (!good)
        exit(2);
    script->moves++;
}

/* Does a read or write for the guest, chunk by chunk. */
static void script_transfer(struct script *script, const struct disk_script_request *asked)
{
    static uint8_t data[LENGTH_MAX];
    bool write = asked->op == DISK_WRITE;
    if (write && disk_script_copy_data(script->disk, asked->id, data, asked->length) < 0)
        exit(2);
    for (uint64_t done = 0; done < asked->length;) {
        uint64_t offset = asked->offset + done, in_chunk = offset % CHUNK_BYTES;
        uint64_t part = CHUNK_BYTES - in_chunk;
        part = part < asked->length - done ? part : asked->length - done;
        off_t place = (off_t)(chunk_place(script, (unsigned)(offset / CHUNK_BYTES)) + in_chunk);
        if ((write ? pwrite(script->fd, data + done, part, place)
                   : pread(script->fd, data + done, part, place)) < 0)
            exit(2);
        done += part;
    }
    disk_script_finish(script->disk, asked->id, 0, write ? NULL : data, write ? 0 : asked->length);
}

static void script_answer(struct script *script, const struct disk_script_request *asked)
{
    script->answered++;
    bool transfer = asked->op == DISK_READ || asked->op == DISK_WRITE;
    if (transfer && rand_r(&script->seed) % 3 == 0) {
        script_transfer(script, asked);
        return;
    }
    if (asked->op != DISK_FLUSH)
        chunk_push(script, (unsigned)(asked->gap_offset / CHUNK_BYTES));
    disk_script_retry(script->disk, asked->id);
}

static void *script_main(void *argument)
{
    struct script *script = argument;
    while (!__atomic_load_n(&script->stop, __ATOMIC_RELAXED)) {
        struct disk_script_request asked;
        event_wait(script->event, 1);
        while (disk_script_take(script->disk, &asked))
            script_answer(script, &asked);
        chunk_move(script, (unsigned)rand_r(&script->seed) % CHUNKS);
    }
    return NULL;
}

static void script_wake(void *context)
{
    eventfd_write(*(int *)context, 1);
}

static uint8_t *slot_at(struct stress *s, unsigned slot, uint64_t offset)
{
    return driver_at(&s->device.driver, SLOT_GPA(slot) + offset);
}

/* Starts a random request in a slot; the model takes a write's effect at once. */
static void slot_start(struct stress *s, unsigned slot)
{
    static const uint32_t TYPES[] = {VIRTIO_BLK_T_IN,    VIRTIO_BLK_T_IN,
                                     VIRTIO_BLK_T_OUT,   VIRTIO_BLK_T_OUT,
                                     VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_WRITE_ZEROES};
    struct slot *request = &s->slots[slot];
    request->type = TYPES[(unsigned)rand_r(&s->seed) % 6];
    request->length = (1 + (unsigned)rand_r(&s->seed) % (LENGTH_MAX / 512)) * 512;
    unsigned room = (SLOT_BYTES - request->length) / 512 + 1;
    request->offset = slot * SLOT_BYTES + (unsigned)rand_r(&s->seed) % room * 512;

    uint8_t *data = slot_at(s, slot, DATA_OFFSET);
    uint8_t *model = s->model + request->offset;
    uint32_t length = request->type == VIRTIO_BLK_T_FLUSH ? 0 : request->length;
    if (request->type == VIRTIO_BLK_T_OUT) {
        pattern_fill(data, length, (unsigned)rand_r(&s->seed));
        memcpy(model, data, length);
    } else if (request->type == VIRTIO_BLK_T_WRITE_ZEROES) {
        *(struct virtio_blk_discard_write_zeroes *)data =
            (struct virtio_blk_discard_write_zeroes){.sector = request->offset / 512,
                                                     .num_sectors = length / 512,
                                                     .flags = (unsigned)rand_r(&s->seed) % 2};
        memset(model, 0, length);
        length = sizeof(struct virtio_blk_discard_write_zeroes);
    }
    *(struct virtio_blk_outhdr *)slot_at(s, slot, 0) =
        (struct virtio_blk_outhdr){.type = request->type, .sector = request->offset / 512};
    *slot_at(s, slot, 0x100) = 0xee;
    struct fake_driver *driver = &s->device.driver;
    uint16_t head = (uint16_t)(slot * 4);
    uint16_t flags =
        VRING_DESC_F_NEXT | (request->type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0);
    uint32_t cut = length / 5;
    driver_describe(driver, head, SLOT_GPA(slot), 16, VRING_DESC_F_NEXT, head + 1);
    driver_describe(driver, head + 1, SLOT_GPA(slot) + DATA_OFFSET, cut, flags, head + 2);
    driver_describe(driver, head + 2, SLOT_GPA(slot) + DATA_OFFSET + cut, length - cut, flags,
                    head + 3);
    driver_describe(driver, head + 3, SLOT_GPA(slot) + 0x100, 1, VRING_DESC_F_WRITE, 0);
    device_offer(&s->device, head);
}

static void slot_end(struct stress *s, unsigned slot)
{
    struct slot *request = &s->slots[slot];
    bool good = *slot_at(s, slot, 0x100) == VIRTIO_BLK_S_OK;
    if (request->type == VIRTIO_BLK_T_IN)
        good &=
            memcmp(slot_at(s, slot, DATA_OFFSET), s->model + request->offset, request->length) == 0;
    s->bad += !good;
}

/* Waits for a used entry as an interrupt-driven driver does. */
static struct vring_used_elem await_interrupt(struct stress *s)
{
    struct fake_driver *driver = &s->device.driver;
    struct vring_used_elem element = {.id = UINT32_MAX};
    while (!driver_take_used(driver, &element)) {
        driver_set_used_event(driver, driver->next_used);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (driver_take_used(driver, &element))
            break;
        if (!event_wait(s->device.interrupt, 60000))
            break;
        /* May be clear: one interrupt's acknowledgement takes the next one's bit along. */
        __atomic_fetch_and(&s->device.interrupt_status, ~1u, __ATOMIC_SEQ_CST);
    }
    return element;
}

static void stress(int (*create)(struct io_engine **), bool event_idx, bool sleeps)
{
    struct stress *s = calloc(1, sizeof *s);
    device_init(&s->device, 64);
    s->device.driver.config.event_idx = event_idx;
    int fd = host_file(2 * DISK_BYTES);
    s->script = (struct script){.disk = &s->disk, .fd = fd, .seed = 7};
    s->script.event = eventfd(0, EFD_NONBLOCK);
    s->seed = 5;
    disk_init(&s->disk, DISK_BYTES, false, 0, (struct wake){script_wake, &s->script.event},
              (struct wake){0});
    struct blk_limits limits = {.seg_max = 8,
                                .max_write_zeroes_sectors = 1000,
                                .features =
                                    1u << VIRTIO_BLK_F_FLUSH | 1u << VIRTIO_BLK_F_WRITE_ZEROES};
    blk_init(&s->blk, &s->disk, &limits, NULL);
    CHECK(device_start(&s->device, &s->blk.handler, create) == 0);
    pthread_t thread;
    pthread_create(&thread, NULL, script_main, &s->script);

    unsigned done = 0;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        slot_start(s, slot);
    while (done < REQUESTS) {
        struct vring_used_elem element =
            sleeps ? await_interrupt(s) : device_await_used(&s->device);
        if (!CHECK(element.id < 4 * SLOTS))
            break;
        slot_end(s, element.id / 4);
        done++;
        if (done + SLOTS <= REQUESTS)
            slot_start(s, element.id / 4);
    }
    CHECK(done == REQUESTS && s->bad == 0);
    CHECK(device_stop(&s->device));
    __atomic_store_n(&s->script.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(s->script.answered > 0 && s->script.moves > 0);
    const struct queue_worker_statistics *statistics = &s->device.worker.statistics;
    CHECK(statistics->chains == REQUESTS);
    printf("  %u answers, %u moves, %lu sleeps, %lu poll hits, %lu interrupts\n",
           s->script.answered, s->script.moves, statistics->sleeps, statistics->poll_hits,
           statistics->interrupts);
    disk_destroy(&s->disk);
    device_free(&s->device);
    close(s->script.event);
    close(fd);
    free(s);
}

static void with_engine(int (*create)(struct io_engine **))
{
    for (unsigned i = 0; i < 4; i++)
        stress(create, i & 1, i & 2);
}

int main(void)
{
    with_engine(io_engine_create_threads);
    if (io_engine_probe_io_uring())
        with_engine(io_engine_create_io_uring);
    else
        printf("io_uring: skipped, this host refuses it\n");
    return check_finish();
}
