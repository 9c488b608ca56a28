/*
 * Asynchronous file I/O for one thread: operations are submitted, sent to the kernel in a batch,
 * and reaped when complete. The thread sleeps in its event loop (util/event_loop.h), which watches
 * the engine's descriptor.
 *
 * Only the thread that serves the engine may call functions other than the creators.
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
 * An operation. A short read or write is continued until it is complete. Reading past the end of
 * the file is -EIO: zeroes would hide that a truncated disk file has lost guest data.
 */
struct io_op {
    enum io_kind kind;
    int fd;
    int mode;                /* for IO_FALLOCATE */
    uint64_t offset;         /* advances */
    uint64_t length;         /* remaining bytes; ignored by IO_DATASYNC */
    struct iov_span buffers; /* for reads and writes, `length` bytes; consumed, with its entries */
    /* Called by io_engine_reap with 0 or -errno. May submit this and other operations. */
    void (*done)(struct io_op *op, int error);

    /* Used by the engine. */
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
/*
 * Makes engines of io_uring beforehand, after which io_engine_create_io_uring() takes one of these:
 * for a process that may set up no more rings. The first `count` are as fast as others, and used up
 * by one thread each. `count` more are used again and again. When all are in use, engines with
 * threads are created. Once. Returns 0 or -errno.
 */
int io_engine_stock_io_uring(unsigned count);
/* Blocking calls on a few threads, which are started on demand. */
int io_engine_create_threads(struct io_engine **engine);
/*
 * Merges consecutively submitted reads or writes of adjacent ranges of a file. The engine passes
 * them to `inner`, which it owns if this succeeds.
 */
int io_engine_create_merging(struct io_engine **engine, struct io_engine *inner);

/* True if this process can use io_uring with all features that the engine needs. */
bool io_engine_probe_io_uring(void);

/* Call this first on the thread that serves the engine. */
static inline void io_engine_attach(struct io_engine *engine)
{
    engine->ops->attach(engine);
}

/*
 * An eventfd that is signalled when operations complete while events are enabled. It is not read.
 */
static inline int io_engine_event_fd(const struct io_engine *engine)
{
    return engine->ops->event_fd(engine);
}

/*
 * Enables or disables events. Operations that are already complete may not cause an event: after
 * enabling them, check io_engine_has_completions() before sleeping.
 */
static inline void io_engine_set_events(struct io_engine *engine, bool wanted)
{
    engine->ops->set_events(engine, wanted);
}

static inline void io_engine_submit(struct io_engine *engine, struct io_op *op)
{
    engine->ops->submit(engine, op);
}

/* Sends the submitted operations to the kernel in one system call. */
static inline void io_engine_send(struct io_engine *engine)
{
    engine->ops->send(engine);
}

/* Whether io_engine_reap has work to do. Makes no system call. */
static inline bool io_engine_has_completions(struct io_engine *engine)
{
    return engine->ops->has_completions(engine);
}

/* Continues the operations whose calls have returned, and calls `done` of the complete ones.
 * Returns the number of complete ones. Operations submitted by `done` are not sent yet. */
static inline unsigned io_engine_reap(struct io_engine *engine)
{
    return engine->ops->reap(engine);
}

/* Nothing may be in flight. Call it on the thread that has attached, if any. */
static inline void io_engine_destroy(struct io_engine *engine)
{
    engine->ops->destroy(engine);
}

/* For engines: the number of an operation's buffers that fit in one call. */
static inline unsigned io_op_buffer_count(const struct io_op *op)
{
    /* UIO_MAXIOV of <linux/uio.h>. */
    return op->buffers.count < 1024 ? op->buffers.count : 1024;
}

/*
 * For engines: processes a call's result (>= 0, or -errno). Returns true if the operation is
 * complete, with op->result set; false if it must be issued again.
 */
bool io_op_advance(struct io_op *op, int result);

#endif
