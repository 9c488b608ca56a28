/*
 * Asynchronous file I/O for one thread: operations are submitted, sent to the kernel in a batch,
 * and reaped when they are complete. The thread sleeps elsewhere (util/event_loop.h), with the
 * engine's descriptor among those it waits for.
 *
 * All functions but the creators are called by the one thread that serves the engine.
 */
#ifndef TSVM_IO_ENGINE_H
#define TSVM_IO_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "../util/iov.h"

enum io_kind {
    IO_READ,
    IO_WRITE,
    IO_DATASYNC,
    IO_FALLOCATE,
};

/*
 * One operation. Reads and writes go on until all is done: a short one is continued. Reading past
 * the end of a file is -EIO: a disk file that has shrunk has lost the guest's data, and zeroes
 * would hide that.
 */
struct io_op {
    enum io_kind kind;
    int fd;
    int mode;                /* of IO_FALLOCATE */
    uint64_t offset;         /* advances */
    uint64_t length;         /* bytes still to do; ignored by IO_DATASYNC */
    struct iov_span buffers; /* of reads and writes, `length` bytes; consumed, entries included */
    /* Called by io_engine_reap, with 0 or -errno. May submit this or other operations. */
    void (*done)(struct io_op *op, int error);

    /* The engine's. */
    struct io_op *next;
    int result;
};

struct io_engine;

struct io_engine_ops {
    void (*attach)(struct io_engine *engine);
    int (*event_fd)(const struct io_engine *engine);
    void (*set_events)(struct io_engine *engine, bool wanted);
    void (*submit)(struct io_engine *engine, struct io_op *op);
    void (*send)(struct io_engine *engine);
    bool (*has_completions)(struct io_engine *engine);
    unsigned (*reap)(struct io_engine *engine);
    void (*destroy)(struct io_engine *engine);
};

struct io_engine {
    const struct io_engine_ops *ops;
};

/* Creators: return 0 or -errno. */
int io_engine_create_io_uring(struct io_engine **engine);
/* A few threads with blocking calls. They are not started before there is something to do. */
int io_engine_create_threads(struct io_engine **engine);
/*
 * Joins reads and writes that are submitted in a row and adjoin in one file, up to the next send.
 * `inner`, which does them, is the new engine's own when this succeeds.
 */
int io_engine_create_merging(struct io_engine **engine, struct io_engine *inner);

/* True when io_uring, with all that the engine needs, can be set up by this process. */
bool io_engine_probe_io_uring(void);

/* To be called first by the thread that serves the engine. */
static inline void io_engine_attach(struct io_engine *engine)
{
    engine->ops->attach(engine);
}

/*
 * An eventfd that is signalled when operations complete, while events are wanted; nobody reads it.
 */
static inline int io_engine_event_fd(const struct io_engine *engine)
{
    return engine->ops->event_fd(engine);
}

/*
 * Asks for events, for a sleep, or for none again. What is complete by then may bring none: look
 * with io_engine_has_completions() after this, and before sleeping.
 */
static inline void io_engine_set_events(struct io_engine *engine, bool wanted)
{
    engine->ops->set_events(engine, wanted);
}

static inline void io_engine_submit(struct io_engine *engine, struct io_op *op)
{
    engine->ops->submit(engine, op);
}

/* Hands what was submitted to the kernel, in one system call. */
static inline void io_engine_send(struct io_engine *engine)
{
    engine->ops->send(engine);
}

/* Whether io_engine_reap has something to do; no system call. */
static inline bool io_engine_has_completions(struct io_engine *engine)
{
    return engine->ops->has_completions(engine);
}

/* Goes on with the operations that the kernel has answered, and calls `done` of those that are
 * complete. Returns their number; what was submitted meanwhile is not sent yet. */
static inline unsigned io_engine_reap(struct io_engine *engine)
{
    return engine->ops->reap(engine);
}

/* Nothing may be in flight. Called by the thread that attached, if one did. */
static inline void io_engine_destroy(struct io_engine *engine)
{
    engine->ops->destroy(engine);
}

/* For engines: the part of an operation's buffers that one call takes. */
static inline unsigned io_op_buffer_count(const struct io_op *op)
{
    /* UIO_MAXIOV of <linux/uio.h>. */
    return op->buffers.count < 1024 ? op->buffers.count : 1024;
}

/*
 * For engines: takes a call's result (>= 0, or -errno) into account. True when the operation is
 * complete, with op->result set; false when it must be issued again.
 */
bool io_op_advance(struct io_op *op, int result);

#endif
