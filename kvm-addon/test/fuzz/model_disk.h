/*
 * A disk with every kind of extent, which the fuzzer's input changes, and the engine that executes
 * its I/O. The model knows which sector of which file a request may access, and checks each
 * operation: a withdrawn extent must not be used when its ticket is quiet.
 */
#ifndef TSVM_FUZZ_MODEL_DISK_H
#define TSVM_FUZZ_MODEL_DISK_H

#include <errno.h>

#include "../../src/backend/disk.h"
#include "fuzz.h"

#define SECTOR 512u
#define SECTORS 128u
#define FILES 3u
#define READ_ONLY_FILE 2u
/* Sector s of the disk is sector s + FILE_SHIFT * f of file f, so that all sectors differ. */
#define FILE_SHIFT 5u
#define FD_BASE 1000 /* not an open file */
/* The file of the stock. Each of its sectors is added once. */
#define STOCK_FILE FILES
#define STOCK_SECTORS 1024u
#define STOCK_UNIT 2u /* sectors */
#define CLAIMS_TAKEN_MAX 4u

#define OPS_MAX 2048u

/* How the disk uses a sector of a file. */
struct file_sector {
    bool mapped;
    uint64_t leaving; /* the ticket of its withdrawal while that is not quiet; otherwise 0 */
};

struct model_disk {
    struct io_engine engine;
    struct disk disk;
    struct file_sector sectors[FILES][SECTORS]; /* indexed by sector of the disk */
    struct file_sector stock[STOCK_SECTORS];    /* by sector of its file; mapped if claimed */
    unsigned stock_added;                       /* sectors from the start of the file */
    bool claiming_off;                          /* claiming is off */
    unsigned stock_of[SECTORS]; /* 1 + the stock's sector for this sector of the disk; or 0 */
    struct io_op *ops[OPS_MAX]; /* in flight */
    unsigned count;
    bool (*owns)(const struct iovec *buffer); /* whether it is in guest memory */
};

/* Takes the claims. Each unit of the stock may be used for one place on the disk, once. */
static inline void model_take_claims(struct model_disk *model)
{
    struct claim claims[CLAIMS_TAKEN_MAX];
    size_t count;
    while ((count = extent_map_take_claims(&model->disk.extents, claims, CLAIMS_TAKEN_MAX)) > 0) {
        REQUIRE(!model->claiming_off);
        for (size_t i = 0; i < count; i++) {
            unsigned at = (unsigned)(claims[i].offset / SECTOR);
            unsigned stocked = (unsigned)(claims[i].fd_offset / SECTOR);
            unsigned length = (unsigned)(claims[i].length / SECTOR);
            REQUIRE(length > 0 && (at | stocked | length) % STOCK_UNIT == 0);
            REQUIRE(at + length <= SECTORS && stocked + length <= model->stock_added);
            for (unsigned j = 0; j < length; j++) {
                struct file_sector *sector = &model->stock[stocked + j];
                REQUIRE(!sector->mapped && !sector->leaving && model->stock_of[at + j] == 0);
                sector->mapped = true;
                model->stock_of[at + j] = 1 + stocked + j;
            }
        }
    }
}

static inline void op_check_stock(struct model_disk *model, const struct io_op *op)
{
    model_take_claims(model);
    uint64_t end = op->offset + op->length;
    REQUIRE(op->length > 0 && end > op->offset && end <= model->stock_added * SECTOR);
    for (uint64_t at = op->offset; at < end; at += SECTOR - at % SECTOR) {
        const struct file_sector *sector = &model->stock[at / SECTOR];
        REQUIRE(sector->mapped || sector->leaving);
    }
}

static inline void op_check(struct model_disk *model, const struct io_op *op)
{
    unsigned file = (unsigned)(op->fd - FD_BASE);
    REQUIRE(file <= STOCK_FILE && (file != READ_ONLY_FILE || op->kind == IO_READ));
    if (op->kind == IO_DATASYNC)
        return;
    REQUIRE(op->kind == IO_READ || !model->disk.read_only);
    if (file == STOCK_FILE) {
        op_check_stock(model, op);
        return;
    }
    uint64_t shift = file * FILE_SHIFT * SECTOR, end = op->offset + op->length;
    REQUIRE(op->length > 0 && op->offset >= shift && end > op->offset);
    REQUIRE(end <= shift + SECTORS * SECTOR);
    for (uint64_t at = op->offset - shift; at < end - shift; at += SECTOR - at % SECTOR) {
        const struct file_sector *sector = &model->sectors[file][at / SECTOR];
        REQUIRE(sector->mapped || sector->leaving);
    }
}

static inline void op_check_buffers(const struct model_disk *model, const struct io_op *op)
{
    const struct disk_piece *piece = (const struct disk_piece *)op;
    if (op->kind != IO_READ && op->kind != IO_WRITE)
        return;
    REQUIRE(iov_span_bytes(&op->buffers) == op->length);
    if (piece->request->step == DISK_WRITE_ZEROES)
        return; /* the zero page */
    for (unsigned i = 0; i < op->buffers.count; i++)
        REQUIRE(op->buffers.iov[i].iov_len > 0 && model->owns(&op->buffers.iov[i]));
}

static inline void model_submit(struct io_engine *engine, struct io_op *op)
{
    struct model_disk *model = (struct model_disk *)engine;
    op_check(model, op);
    op_check_buffers(model, op);
    REQUIRE(model->count < OPS_MAX);
    model->ops[model->count++] = op;
}

/* Result of the host's operation: 0 is success, other values are failures or delays. */
static inline int op_result(const struct io_op *op, uint8_t outcome)
{
    bool transfers = op->kind == IO_READ || op->kind == IO_WRITE;
    uint64_t part = 1 + outcome * 40u;
    switch (outcome & 15) {
    case 1:
        return -EIO;
    case 2:
        return -EAGAIN;
    case 3:
        return op->kind == IO_FALLOCATE ? -EOPNOTSUPP : -ENOSPC;
    case 4:
        return 0; /* the end of the file, or success */
    case 5:
    case 6:
        return transfers ? (int)(part < op->length ? part : op->length) : 0;
    default:
        return transfers ? (int)op->length : 0;
    }
}

/* Executes any of the operations in flight, or a part of it. */
static inline void model_run(struct model_disk *model, uint8_t which, uint8_t outcome)
{
    static uint8_t bytes[SECTORS * SECTOR];
    if (model->count == 0)
        return;
    unsigned index = which % model->count;
    struct io_op *op = model->ops[index];
    op_check(model, op);
    int result = op_result(op, outcome);
    if (result > 0 && op->kind == IO_READ)
        iov_copy_to(&op->buffers, bytes, (size_t)result);
    if (result > 0 && op->kind == IO_WRITE)
        iov_copy_from(&op->buffers, bytes, (size_t)result);
    if (!io_op_advance(op, result))
        return;
    model->ops[index] = model->ops[--model->count];
    op->done(op, op->result);
}

/* Handles withdrawals that have become quiet: nothing in flight may use the withdrawn extents. */
static inline void model_settle(struct model_disk *model)
{
    for (unsigned i = 0; i < FILES * SECTORS; i++) {
        struct file_sector *sector = &model->sectors[i / SECTORS][i % SECTORS];
        if (sector->leaving && extent_map_is_quiet(&model->disk.extents, sector->leaving))
            sector->leaving = 0;
    }
    for (unsigned i = 0; i < STOCK_SECTORS; i++) {
        struct file_sector *sector = &model->stock[i];
        if (sector->leaving && extent_map_is_quiet(&model->disk.extents, sector->leaving))
            sector->leaving = 0;
    }
    for (unsigned i = 0; i < model->count; i++)
        op_check(model, model->ops[i]);
}

/* Sectors unmapped by the ticket's withdrawal, or by a push before it. */
static inline void sectors_leave(struct model_disk *model, unsigned first, unsigned count,
                                 uint64_t ticket)
{
    for (unsigned i = 0; i < FILES * count; i++) {
        struct file_sector *sector = &model->sectors[i / count][first + i % count];
        if (sector->mapped)
            *sector = (struct file_sector){.leaving = ticket};
    }
    for (unsigned i = first; i < first + count; i++) {
        if (model->stock_of[i] != 0)
            model->stock[model->stock_of[i] - 1] = (struct file_sector){.leaving = ticket};
        model->stock_of[i] = 0;
    }
}

static inline void model_withdraw(struct model_disk *model, unsigned first, unsigned count)
{
    model_take_claims(model);
    uint64_t ticket =
        extent_map_withdraw(&model->disk.extents, first * SECTOR, (uint64_t)count * SECTOR);
    sectors_leave(model, first, count, ticket);
}

/* Maps sectors to a file, or to zeroes if there is no such file. */
static inline void model_push(struct model_disk *model, unsigned first, unsigned count,
                              unsigned file, bool read_only)
{
    bool zero = file >= FILES;
    struct extent extent = {
        .offset = first * SECTOR,
        .length = count * SECTOR,
        .fd = zero ? -1 : FD_BASE + (int)file,
        .fd_offset = zero ? 0 : (first + file * FILE_SHIFT) * SECTOR,
        .flags =
            (zero ? EXTENT_ZERO : 0) | (read_only || file == READ_ONLY_FILE ? EXTENT_READ_ONLY : 0),
    };
    struct extent_map *map = &model->disk.extents;
    model_take_claims(model);
    int error = extent_map_push(map, &extent, 1);
    REQUIRE(count > 0 ? error == 0 || error == -ENOMEM : error == -EINVAL);
    /* Replaced extents may still be in use; an empty withdrawal tells until when. */
    sectors_leave(model, first, count, extent_map_withdraw(map, 0, 0));
    for (unsigned i = 0; i < count && !zero; i++)
        model->sectors[file][first + i].mapped = true;
}

/* Adds units to the stock, as far as the file reaches. */
static inline void model_lay_in(struct model_disk *model, unsigned units)
{
    unsigned sectors = units * STOCK_UNIT;
    if (model->stock_added + sectors > STOCK_SECTORS)
        return;
    int error =
        extent_map_add_stock(&model->disk.extents, FD_BASE + (int)STOCK_FILE, STOCK_UNIT * SECTOR,
                             model->stock_added * SECTOR, (uint64_t)sectors * SECTOR);
    REQUIRE(units > 0 ? error == 0 || error == -ENOMEM : error == -EINVAL);
    if (error == 0)
        model->stock_added += sectors;
}

/* A step of the disk's owner. */
static inline void model_step(struct model_disk *model, struct fuzz_input *input)
{
    uint8_t kind = input_u8(input);
    unsigned first = input_u8(input) % SECTORS;
    unsigned count = input_u8(input) % (SECTORS + 1 - first);
    switch (kind & 7) {
    case 0:
    case 1:
        model_withdraw(model, first, count);
        break;
    case 2:
    case 3:
        disk_set_scripted(&model->disk, first & 7);
        break;
    case 4:
        model_lay_in(model, count % 16);
        break;
    case 5:
        extent_map_set_claiming(&model->disk.extents, kind & 64);
        model_take_claims(model);
        model->claiming_off = !(kind & 64);
        break;
    default:
        model_push(model, first, count, (kind >> 3) % (FILES + 1), kind & 64);
    }
    model_settle(model);
}

static const struct io_engine_ops MODEL_ENGINE = {.submit = model_submit};

static inline void model_init(struct model_disk *model, bool read_only,
                              bool (*owns)(const struct iovec *buffer))
{
    *model = (struct model_disk){.engine.ops = &MODEL_ENGINE, .owns = owns};
    disk_init(&model->disk, SECTORS * SECTOR, read_only, 0, (struct wake){0}, (struct wake){0});
}

#endif
