/*
 * An engine that merges adjacent reads or writes for another engine. Consecutive requests of a
 * driver often form one range of a file, and one call for the whole range costs little more than
 * one for a part.
 */
#include "io_engine.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Maximum size of a merged operation, so that its first part is not delayed for long. */
#define JOINED_BYTES_MAX (1024u * 1024u)
#define JOINED_BUFFERS_MAX 256u

/* Adjacent operations, executed as one. */
struct joined_op {
    struct io_op io;
    struct merging_engine *engine;
    struct io_op *parts; /* list by `next`, in file order */
    struct joined_op *next_free;
    struct iovec iov[JOINED_BUFFERS_MAX];
};

struct merging_engine {
    struct io_engine base;
    struct io_engine *inner;
    /* The held operations, to which the next one may be appended: list by `next`, or NULL. */
    struct io_op *first;
    struct io_op *last;
    uint64_t length;
    unsigned buffers;
    struct joined_op *free;
};

static struct merging_engine *engine_of(struct io_engine *base)
{
    return (struct merging_engine *)base;
}

static struct joined_op *joined_take(struct merging_engine *engine)
{
    struct joined_op *joined = engine->free;
    if (joined)
        engine->free = joined->next_free;
    else
        joined = malloc(sizeof *joined);
    return joined;
}

/* Submits the parts one by one, as if they had not been merged. */
static void parts_submit(struct merging_engine *engine, struct io_op *part)
{
    while (part) {
        struct io_op *next = part->next;
        io_engine_submit(engine->inner, part);
        part = next;
    }
}

static void joined_done(struct io_op *io, int error)
{
    struct joined_op *joined = (struct joined_op *)io;
    struct merging_engine *engine = joined->engine;
    struct io_op *part = joined->parts;
    joined->next_free = engine->free;
    engine->free = joined;
    if (error < 0) {
        /* Repeat all parts separately to find out which of them fail. */
        parts_submit(engine, part);
        return;
    }
    while (part) {
        struct io_op *next = part->next;
        part->offset += part->length;
        part->length = 0;
        part->done(part, 0);
        part = next;
    }
}

/* Submits the held operations. */
static void held_submit(struct merging_engine *engine)
{
    struct io_op *first = engine->first;
    if (!first)
        return;
    engine->first = NULL;
    engine->last->next = NULL;
    struct joined_op *joined = first->next ? joined_take(engine) : NULL;
    if (!joined) {
        parts_submit(engine, first);
        return;
    }
    unsigned count = 0;
    for (const struct io_op *part = first; part; part = part->next) {
        memcpy(&joined->iov[count], part->buffers.iov, part->buffers.count * sizeof(struct iovec));
        count += part->buffers.count;
    }
    joined->engine = engine;
    joined->parts = first;
    joined->io = (struct io_op){.kind = first->kind,
                                .fd = first->fd,
                                .offset = first->offset,
                                .length = engine->length,
                                .buffers = {.iov = joined->iov, .count = count},
                                .done = joined_done};
    io_engine_submit(engine->inner, &joined->io);
}

static bool continues_held(const struct merging_engine *engine, const struct io_op *op)
{
    const struct io_op *last = engine->last;
    return engine->first && op->kind == last->kind && op->fd == last->fd &&
           op->offset == last->offset + last->length &&
           engine->length + op->length <= JOINED_BYTES_MAX &&
           engine->buffers + op->buffers.count <= JOINED_BUFFERS_MAX;
}

static void merging_submit(struct io_engine *base, struct io_op *op)
{
    struct merging_engine *engine = engine_of(base);
    if (op->kind != IO_READ && op->kind != IO_WRITE) {
        io_engine_submit(engine->inner, op);
        return;
    }
    if (continues_held(engine, op)) {
        engine->last->next = op;
        engine->length += op->length;
        engine->buffers += op->buffers.count;
    } else {
        held_submit(engine);
        engine->first = op;
        engine->length = op->length;
        engine->buffers = op->buffers.count;
    }
    engine->last = op;
}

static void merging_send(struct io_engine *base)
{
    held_submit(engine_of(base));
    io_engine_send(engine_of(base)->inner);
}

static void merging_attach(struct io_engine *base)
{
    io_engine_attach(engine_of(base)->inner);
}

static int merging_event_fd(const struct io_engine *base)
{
    return io_engine_event_fd(((const struct merging_engine *)base)->inner);
}

static void merging_set_events(struct io_engine *base, bool wanted)
{
    io_engine_set_events(engine_of(base)->inner, wanted);
}

static bool merging_has_completions(struct io_engine *base)
{
    return io_engine_has_completions(engine_of(base)->inner);
}

static unsigned merging_reap(struct io_engine *base)
{
    return io_engine_reap(engine_of(base)->inner);
}

static void merging_destroy(struct io_engine *base)
{
    struct merging_engine *engine = engine_of(base);
    io_engine_destroy(engine->inner);
    while (engine->free) {
        struct joined_op *joined = engine->free;
        engine->free = joined->next_free;
        free(joined);
    }
    free(engine);
}

static const struct io_engine_ops MERGING_OPS = {
    .attach = merging_attach,
    .event_fd = merging_event_fd,
    .set_events = merging_set_events,
    .submit = merging_submit,
    .send = merging_send,
    .has_completions = merging_has_completions,
    .reap = merging_reap,
    .destroy = merging_destroy,
};

int io_engine_create_merging(struct io_engine **out, struct io_engine *inner)
{
    struct merging_engine *engine = malloc(sizeof *engine);
    if (!engine)
        return -ENOMEM;
    *engine = (struct merging_engine){.base = {.ops = &MERGING_OPS}, .inner = inner};
    *out = &engine->base;
    return 0;
}
