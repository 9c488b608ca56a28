/*
 * virtio-blk on arbitrary guest memory, over a disk with every kind of extent: it stays within
 * guest memory and the extents, never writes what is read-only, and returns every chain.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../src/virtio/blk.h"
#include "guest_rings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DISK_SIZE 0x10000u
#define FD_WRITABLE 1000
#define FD_READ_ONLY 1001
#define OPS_MAX 2048u

/* An engine that checks what it is asked to do, and touches every byte of the buffers. */
struct checking_engine {
    struct io_engine base;
    struct io_op *ops[OPS_MAX];
    unsigned count;
    unsigned reaped;
};

static void checking_submit(struct io_engine *base, struct io_op *op)
{
    struct checking_engine *engine = (struct checking_engine *)base;
    bool transfers = op->kind == IO_READ || op->kind == IO_WRITE;
    if (engine->count == OPS_MAX || (op->fd != FD_WRITABLE && op->kind != IO_READ))
        abort();
    if (op->kind != IO_DATASYNC && (op->offset > DISK_SIZE || op->length > DISK_SIZE - op->offset))
        abort();
    if (transfers && iov_span_bytes(&op->buffers) != op->length)
        abort();
    engine->ops[engine->count++] = op;
}

static unsigned checking_reap(struct io_engine *base)
{
    static uint8_t bytes[DISK_SIZE];
    struct checking_engine *engine = (struct checking_engine *)base;
    unsigned count = engine->count;
    for (unsigned i = 0; i < count; i++) {
        struct io_op *op = engine->ops[i];
        if (op->kind == IO_READ)
            iov_copy_to(&op->buffers, bytes, op->length);
        if (op->kind == IO_WRITE)
            iov_copy_from(&op->buffers, bytes, op->length);
        if (op->kind == IO_WRITE)
            op->offset += op->length;
        op->done(op, op->kind == IO_FALLOCATE ? -EOPNOTSUPP : engine->reaped++ % 5 ? 0 : -EIO);
    }
    memmove(engine->ops, engine->ops + count, (engine->count - count) * sizeof(engine->ops[0]));
    engine->count -= count;
    return count;
}

static const struct io_engine_ops CHECKING_OPS = {.submit = checking_submit, .reap = checking_reap};

static void extents_push(struct disk *disk)
{
    const struct extent extents[] = {
        {.offset = 0, .length = 0x4000, .fd = FD_WRITABLE, .fd_offset = 0x8000},
        {.offset = 0x4000, .length = 0x1000, .fd = -1, .flags = EXTENT_ZERO},
        {.offset = 0x5000, .length = 512, .fd = FD_WRITABLE, .fd_offset = 0},
        {.offset = 0x5200, .length = 512, .fd = FD_WRITABLE, .fd_offset = 0x1000},
        {.offset = 0x6000, .length = 0x2000, .fd = FD_READ_ONLY, .flags = EXTENT_READ_ONLY},
    };
    if (extent_map_push(&disk->extents, extents, sizeof(extents) / sizeof(extents[0])) < 0)
        abort();
}

/* Answers all that the script is asked. */
static void script_answer(struct disk *disk)
{
    static uint8_t data[DISK_SIZE];
    struct disk_script_request asked;
    while (disk_script_take(disk, &asked)) {
        if (asked.length > DISK_SIZE || asked.offset > DISK_SIZE - asked.length)
            abort();
        bool read = asked.op == DISK_READ;
        if (asked.op == DISK_WRITE && disk_script_copy_data(disk, asked.id, data, asked.length) < 0)
            abort();
        if (disk_script_finish(disk, asked.id, 0, read ? data : NULL, read ? asked.length : 0) < 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct blk_limits LIMITS = {
        .id = "fuzz", .seg_max = 8, .max_discard_sectors = 64, .max_write_zeroes_sectors = 64};
    struct virtqueue queue;
    if (!rings_init(&queue, data, size))
        return 0;
    struct checking_engine engine = {.base.ops = &CHECKING_OPS};
    struct disk disk;
    struct blk blk;
    int event = eventfd(0, EFD_NONBLOCK);
    bool scripted = data[0] & 64;
    disk_init(&disk, DISK_SIZE, false, scripted ? DISK_SCRIPTED_FLUSH | DISK_SCRIPTED_DISCARD : 0,
              (struct wake){0}, (struct wake){0});
    extents_push(&disk);
    blk_init(&blk, &disk, &LIMITS);
    /* FLUSH negotiated, or every write is followed by one. */
    blk.limits.features = 1u << VIRTIO_BLK_F_DISCARD | 1u << VIRTIO_BLK_F_WRITE_ZEROES |
                          (data[0] & 128 ? 1u << VIRTIO_BLK_F_FLUSH : 0);
    struct queue_handler *handler = &blk.handler;
    if (event < 0 || handler->start(handler, &queue, 1, &engine.base, event) < 0)
        abort();
    for (unsigned turn = 0; turn < 64; turn++) {
        unsigned done = turn < 8 ? handler->serve(handler, &queue, 16) : 0;
        done += handler->exchange(handler);
        script_answer(&disk);
        done += checking_reap(&engine.base);
        virtqueue_publish(&queue);
        if (turn >= 8 && done == 0 && !handler->has_answers(handler))
            break;
    }
    if (queue.in_flight != 0)
        abort();
    handler->free(handler);
    disk_destroy(&disk);
    close(event);
    return 0;
}
