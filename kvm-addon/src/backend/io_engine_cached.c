#include "io_engine_cached.h"

#include <errno.h>
#include <stddef.h>
#include <sys/uio.h>

/* Longer reads would keep the other thread, a vCPU, from its own work for too long. */
#define AT_ONCE_BYTES_MAX (128u * 1024u)

static struct io_engine_cached *engine_of(struct io_engine *base)
{
    return (struct io_engine_cached *)base;
}

static void list_append(struct io_op_list *list, struct io_op *op)
{
    op->next = NULL;
    if (list->first)
        list->last->next = op;
    else
        list->first = op;
    list->last = op;
}

static struct io_op *list_take(struct io_op_list *list)
{
    struct io_op *op = list->first;
    if (op)
        list->first = op->next;
    return op;
}

static bool can_be_tried(const struct io_engine_cached *engine, const struct io_op *op)
{
    return op->kind == IO_READ && op->length <= AT_ONCE_BYTES_MAX && !engine->refused;
}

/*
 * Reads what the page cache has, and advances the operation by it. True if that was all of it. Any
 * error is left to the inner engine.
 */
static bool read_at_once(struct io_engine_cached *engine, struct io_op *op)
{
    if (!can_be_tried(engine, op))
        return false;
    for (;;) {
        ssize_t result = preadv2(op->fd, op->buffers.iov, (int)io_op_buffer_count(op),
                                 (off_t)op->offset, RWF_NOWAIT);
        if (result <= 0) {
            /* Not every file system can tell (preadv2(2): EOPNOTSUPP). */
            engine->refused = result < 0 && errno == EOPNOTSUPP;
            return false;
        }
        if (io_op_advance(op, (int)result))
            return true;
    }
}

static void cached_submit(struct io_engine *base, struct io_op *op)
{
    struct io_engine_cached *engine = engine_of(base);
    engine->others += !can_be_tried(engine, op);
    if (!engine->at_once)
        io_engine_submit(engine->inner, op);
    else
        list_append(read_at_once(engine, op) ? &engine->read : &engine->later, op);
}

static void cached_send(struct io_engine *base)
{
    struct io_engine_cached *engine = engine_of(base);
    if (engine->at_once)
        return;
    for (struct io_op *op; (op = list_take(&engine->later)) != NULL;)
        io_engine_submit(engine->inner, op);
    io_engine_send(engine->inner);
}

static bool cached_has_completions(struct io_engine *base)
{
    struct io_engine_cached *engine = engine_of(base);
    return engine->read.first || engine->later.first || io_engine_has_completions(engine->inner);
}

static unsigned cached_reap(struct io_engine *base)
{
    struct io_engine_cached *engine = engine_of(base);
    unsigned reaped = 0;
    for (struct io_op *op; (op = list_take(&engine->read)) != NULL; reaped++)
        op->done(op, op->result);
    return engine->at_once ? reaped : reaped + io_engine_reap(engine->inner);
}

static void cached_attach(struct io_engine *base)
{
    io_engine_attach(engine_of(base)->inner);
}

static int cached_event_fd(const struct io_engine *base)
{
    return io_engine_event_fd(((const struct io_engine_cached *)base)->inner);
}

static void cached_set_events(struct io_engine *base, bool wanted)
{
    io_engine_set_events(engine_of(base)->inner, wanted);
}

static void cached_destroy(struct io_engine *base)
{
    io_engine_destroy(engine_of(base)->inner);
}

static const struct io_engine_ops CACHED_OPS = {
    .attach = cached_attach,
    .event_fd = cached_event_fd,
    .set_events = cached_set_events,
    .submit = cached_submit,
    .send = cached_send,
    .has_completions = cached_has_completions,
    .reap = cached_reap,
    .destroy = cached_destroy,
};

void io_engine_cached_init(struct io_engine_cached *engine, struct io_engine *inner)
{
    *engine = (struct io_engine_cached){.base = {.ops = &CACHED_OPS}, .inner = inner};
}

void io_engine_cached_set_at_once(struct io_engine_cached *engine, bool at_once)
{
    engine->at_once = at_once;
}
