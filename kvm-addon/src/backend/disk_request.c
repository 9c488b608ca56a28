#include "disk_request.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stddef.h>
#include <stdlib.h>

#include "disk_script.h"

/* Source of written zeroes, repeated ZERO_BUFFERS times per call, 1 MiB. */
static const uint8_t ZERO_PAGE[4096] __attribute__((aligned(4096)));
#define ZERO_BUFFERS 256u

/*
 * True if the host's file system or device does not support the operation, or not for this range.
 */
static bool is_unsupported(int error)
{
    return error == -EOPNOTSUPP || error == -ENOSYS || error == -EINVAL;
}

static struct disk_piece *piece_of(struct io_op *io)
{
    return (struct disk_piece *)((uint8_t *)io - offsetof(struct disk_piece, io));
}

static struct extent_map *extents_of(struct disk_request *request)
{
    return &request->session->disk->extents;
}

/* Records the end of a piece. Returns true if it was the last piece of the round. */
static bool piece_end(struct disk_request *request, int error)
{
    if (error < 0 && request->error == 0)
        request->error = error;
    if (--request->in_flight > 0)
        return false;
    extent_map_release(extents_of(request), &request->use);
    return true;
}

/* Submits a write of zeroes from io.offset. Returns 0 or -ENOMEM. */
static int zeroes_submit(struct disk_piece *piece)
{
    struct io_op *io = &piece->io;
    if (!piece->zero_iov)
        piece->zero_iov = malloc(ZERO_BUFFERS * sizeof *piece->zero_iov);
    if (!piece->zero_iov)
        return -ENOMEM;
    unsigned count = 0;
    io->kind = IO_WRITE;
    io->length = 0;
    for (uint64_t left = piece->zero_end - io->offset; left > 0 && count < ZERO_BUFFERS;) {
        size_t part = left < sizeof ZERO_PAGE ? left : sizeof ZERO_PAGE;
        /* An iovec has no const pointers; a write does not write to it. */
        piece->zero_iov[count++] = (struct iovec){.iov_base = (void *)ZERO_PAGE, .iov_len = part};
        io->length += part;
        left -= part;
    }
    io->buffers = (struct iov_span){.iov = piece->zero_iov, .count = count};
    io_engine_submit(piece->request->session->engine, io);
    return 0;
}

/* Submits the deallocation or zeroing of io.length bytes at io.offset of the host file. */
static void fallocate_submit(struct disk_piece *piece, int mode)
{
    piece->io.kind = IO_FALLOCATE;
    piece->io.mode = mode | FALLOC_FL_KEEP_SIZE;
    io_engine_submit(piece->request->session->engine, &piece->io);
}

/*
 * Continues zeroing a range after an operation that ended with `error`. Returns 0 when another
 * operation is in flight, 1 when the range is zeroed, or -errno.
 */
static int zero_advance(struct disk_piece *piece, int error)
{
    if (piece->way == ZERO_BY_WRITE) {
        if (error < 0)
            return error;
        return piece->io.offset == piece->zero_end ? 1 : zeroes_submit(piece);
    }
    if (!is_unsupported(error))
        return error < 0 ? error : 1;
    if (piece->way == ZERO_BY_PUNCH_HOLE) {
        piece->way = ZERO_BY_ZERO_RANGE;
        fallocate_submit(piece, FALLOC_FL_ZERO_RANGE);
        return 0;
    }
    piece->way = ZERO_BY_WRITE;
    piece->zero_end = piece->io.offset + piece->io.length;
    return zeroes_submit(piece);
}

static void piece_done(struct io_op *io, int error)
{
    struct disk_piece *piece = piece_of(io);
    struct disk_request *request = piece->request;
    if (request->step == DISK_WRITE_ZEROES) {
        error = zero_advance(piece, error);
        if (error == 0)
            return;
        free(piece->zero_iov);
        piece->zero_iov = NULL;
    }
    if (request->step == DISK_DISCARD && is_unsupported(error))
        error =
            0; /* a discard is a hint, and a host that cannot follow it has done nothing wrong */
    if (error < 0)
        disk_note_failure(request->session->disk, request->step, error);
    if (piece_end(request, error))
        disk_request_advance(request);
}

/*
 * The buffers of a piece. The engine consumes them, so a piece that is not the whole request uses
 * separate entries in `room`.
 */
static struct iov_span piece_buffers(struct disk_request *request, uint64_t length,
                                     struct iovec **room)
{
    if (length == request->length)
        return request->buffers;
    struct iov_span buffers = {.iov = *room};
    buffers.count = iov_span_slice(&request->buffers, request->progress, length, *room);
    *room += buffers.count;
    return buffers;
}

/* Starts the part of a request that an extent serves. */
static void piece_start(struct disk_piece *piece, const struct extent *extent, struct iovec **room)
{
    struct disk_request *request = piece->request;
    struct io_op *io = &piece->io;
    bool zero = extent->flags & EXTENT_ZERO;
    bool transfers = request->step == DISK_READ || request->step == DISK_WRITE;
    if (zero && !transfers)
        return; /* already reads as zeroes and is not allocated */
    *io = (struct io_op){.fd = extent->fd,
                         .offset = extent->fd_offset,
                         .length = extent->length,
                         .done = piece_done};
    if (transfers)
        io->buffers = piece_buffers(request, extent->length, room);
    if (zero) {
        iov_zero(&io->buffers, extent->length);
        return;
    }
    request->in_flight++;
    if (transfers) {
        io->kind = request->step == DISK_READ ? IO_READ : IO_WRITE;
        io_engine_submit(request->session->engine, io);
    } else if (request->step == DISK_DISCARD || request->may_unmap) {
        piece->way = ZERO_BY_PUNCH_HOLE;
        fallocate_submit(piece, FALLOC_FL_PUNCH_HOLE);
    } else {
        piece->way = ZERO_BY_ZERO_RANGE;
        fallocate_submit(piece, FALLOC_FL_ZERO_RANGE);
    }
}

/* Allocates entries for the buffers of a round; between two pieces an entry may be split. */
static bool room_allocate(struct disk_request *request)
{
    if (!request->room)
        request->room = malloc((request->buffers.count + DISK_PIECES_MAX) * sizeof *request->room);
    return request->room != NULL;
}

static enum extent_access access_needed(enum disk_op step)
{
    if (step == DISK_READ)
        return EXTENT_FOR_READ;
    return step == DISK_WRITE ? EXTENT_FOR_WRITE : EXTENT_FOR_DISCARD;
}

/* Starts the next pieces. Returns their number, 0 if no extent serves the next byte. */
static unsigned extents_start(struct disk_request *request)
{
    struct extent found[DISK_PIECES_MAX];
    unsigned count =
        extent_map_acquire(extents_of(request), &request->use, access_needed(request->step),
                           request->offset + request->progress, request->length - request->progress,
                           found, DISK_PIECES_MAX);
    if (extent_map_take_stock_low(extents_of(request)))
        wake_notify(&request->session->disk->wake);
    bool whole = count > 0 && found[0].length == request->length;
    if (count > 0 && !whole && request->buffers.count > 0 && !room_allocate(request)) {
        request->error = -ENOMEM;
        return count;
    }
    struct iovec *room = request->room;
    for (unsigned i = 0; i < count; i++) {
        request->pieces[i].request = request;
        piece_start(&request->pieces[i], &found[i], &room);
        request->progress += found[i].length;
    }
    return count;
}

/* Starts syncing the next files. Returns their number, 0 if all are synced. */
static unsigned files_start(struct disk_request *request)
{
    int fds[DISK_PIECES_MAX];
    unsigned count = extent_map_acquire_files(extents_of(request), &request->use,
                                              (int)request->progress, fds, DISK_PIECES_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct disk_piece *piece = &request->pieces[i];
        piece->request = request;
        piece->io = (struct io_op){.kind = IO_DATASYNC, .fd = fds[i], .done = piece_done};
        request->in_flight++;
        io_engine_submit(request->session->engine, &piece->io);
        request->progress = (uint64_t)fds[i] + 1;
    }
    return count;
}

void disk_request_advance(struct disk_request *request)
{
    bool flush = request->step == DISK_FLUSH;
    while (request->error == 0 && (flush || request->progress < request->length)) {
        request->in_flight = 1; /* held by this loop, so that the round cannot end meanwhile */
        unsigned started = flush ? files_start(request) : extents_start(request);
        if (started == 0 && flush)
            break;
        if (started == 0) {
            disk_session_ask(request->session, request);
            return;
        }
        if (!piece_end(request, 0))
            return;
    }
    disk_request_finish(request, request->error);
}

/* Starts the current step from its beginning. */
static void step_begin(struct disk_request *request)
{
    request->progress = 0;
    request->error = 0;
    if (disk_op_is_scripted(request->session->disk, request->step))
        disk_session_ask(request->session, request);
    else
        disk_request_advance(request);
}

void disk_request_begin(struct disk_request *request)
{
    request->step = request->op;
    request->room = NULL;
    step_begin(request);
}

void disk_request_finish(struct disk_request *request, int error)
{
    bool wrote = request->step == DISK_WRITE || request->step == DISK_WRITE_ZEROES;
    if (wrote && request->stable && error == 0) {
        request->step = DISK_FLUSH;
        step_begin(request);
        return;
    }
    free(request->room);
    request->done(request, error);
}
