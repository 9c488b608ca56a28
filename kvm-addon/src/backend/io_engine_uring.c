/* The io_uring engine: one ring, used only by the serving thread. */
#include "io_engine.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SUBMISSION_ENTRIES 256
#define COMPLETION_ENTRIES 1024

/* Maximum size of a lone write that this thread executes itself. */
#define LONE_BYTES_MAX (1024u * 1024u)

struct io_engine_uring {
    struct io_engine base;
    struct io_uring ring;
    /*
     * Signals completions. Polling the ring's descriptor does not work with deferred completions:
     * the kernel does not wake the poller.
     */
    int event_fd;
    unsigned in_flight; /* operations in the ring */
    /*
     * A write while no other operation is in flight; this thread executes it itself. On most file
     * systems, such as ext4, io_uring writes to the page cache from a kernel thread, and switching
     * to that thread takes longer than the write. It only pays if this thread has other work.
     */
    struct io_op *lone;
    int lone_result;
    bool lone_done;               /* complete, but not reaped yet */
    bool reusable;                /* by one thread after the other */
    struct io_engine_uring *next; /* in the stock */
};

/* Engines made beforehand, for a process that may set up no more rings. */
static struct {
    pthread_mutex_t lock;
    bool filled;
    struct io_engine_uring *fresh, *reusable;
} stock = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct io_engine_uring *engine_of(struct io_engine *base)
{
    return (struct io_engine_uring *)base;
}

/* Best first. With SINGLE_ISSUER (6.0) and DEFER_TASKRUN (6.1) the kernel processes completions
 * only when this thread asks for them, without interrupting it. COOP_TASKRUN (5.19) is similar. */
static const unsigned SETUP_FLAGS[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    0,
};
/* The first of them that does not tie the ring to a thread. */
#define REUSABLE_FLAGS 1u

/*
 * All that a ring does, for the kernel to refuse the rest: a guest that has taken over the thread
 * could use a ring to open files and sockets, which the filter of the thread does not see.
 */
static int ring_restrict(struct io_uring *ring)
{
    static const uint8_t REQUESTS[] = {IORING_OP_NOP,      IORING_OP_READ,   IORING_OP_READV,
                                       IORING_OP_WRITE,    IORING_OP_WRITEV, IORING_OP_FSYNC,
                                       IORING_OP_FALLOCATE};
    static const uint8_t REGISTRATIONS[] = {IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_RING_FDS,
                                            IORING_UNREGISTER_RING_FDS};
    struct io_uring_restriction list[sizeof REQUESTS + sizeof REGISTRATIONS] = {0};
    unsigned count = 0;
    for (unsigned i = 0; i < sizeof REQUESTS; i++)
        list[count++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP,
                                                      .sqe_op = REQUESTS[i]};
    for (unsigned i = 0; i < sizeof REGISTRATIONS; i++)
        list[count++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_REGISTER_OP,
                                                      .register_op = REGISTRATIONS[i]};
    /* As with io_uring_enable_rings(3) below. */
    long result =
        syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, list, count);
    return result < 0 ? -errno : 0;
}

/* Creates the ring disabled; the serving thread enables it and thereby becomes its issuer. */
static int ring_create(struct io_uring *ring, bool reusable)
{
    int error = -EINVAL;
    for (unsigned i = reusable ? REUSABLE_FLAGS : 0; i < sizeof SETUP_FLAGS / sizeof SETUP_FLAGS[0];
         i++) {
        struct io_uring_params params = {
            .flags = SETUP_FLAGS[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE,
            .cq_entries = COMPLETION_ENTRIES,
        };
        error = io_uring_queue_init_params(SUBMISSION_ENTRIES, ring, &params);
        if (error != -EINVAL)
            break;
    }
    if (error < 0)
        return error;
    /* Before 5.12 io_uring's kernel threads did not belong to this process nor obey its limits. */
    if (!(ring->features & IORING_FEAT_NATIVE_WORKERS)) {
        io_uring_queue_exit(ring);
        return -ENOSYS;
    }
    return 0;
}

/* Enables the ring; called by the serving thread. Returns 0 or -errno. */
static int ring_enable(struct io_uring *ring)
{
    /* liburing 2.3 declares io_uring_enable_rings(3) but does not export it. */
    long result =
        syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    return result < 0 ? -errno : 0;
}

/* Tries all three system calls, because seccomp may deny some of them. */
bool io_engine_probe_io_uring(void)
{
    struct io_uring ring;
    if (ring_create(&ring, false) < 0)
        return false;
    bool works = false;
    if (ring_enable(&ring) == 0) {
        io_uring_prep_nop(io_uring_get_sqe(&ring));
        works = io_uring_submit_and_wait(&ring, 1) == 1 && io_uring_cq_ready(&ring) == 1;
    }
    io_uring_queue_exit(&ring);
    return works;
}

/* Submits the entries to the kernel. */
static void ring_send(struct io_uring *ring)
{
    /*
     * On an error (EAGAIN, EBUSY, or EINTR on a signal) the entries stay in the ring until the next
     * send.
     */
    if (io_uring_sq_ready(ring) > 0)
        io_uring_submit(ring);
}

/* Returns a free entry, after submitting the entries if the ring is full. */
static struct io_uring_sqe *entry_take(struct io_engine_uring *engine)
{
    struct io_uring_sqe *entry;
    while ((entry = io_uring_get_sqe(&engine->ring)) == NULL) {
        ring_send(&engine->ring);
        /* The kernel accepts no entries while too many completions are pending: fetch them. */
        if (io_uring_sq_space_left(&engine->ring) == 0)
            io_uring_get_events(&engine->ring);
    }
    return entry;
}

static void uring_attach(struct io_engine *base)
{
    struct io_engine_uring *engine = engine_of(base);
    /* Cannot fail, as the probe has checked; a ring of the stock may be enabled already. */
    ring_enable(&engine->ring);
    /* Optional: saves the look-up of the ring's descriptor in each system call. */
    io_uring_register_ring_fd(&engine->ring);
}

static int uring_event_fd(const struct io_engine *base)
{
    return ((const struct io_engine_uring *)base)->event_fd;
}

static void uring_set_events(struct io_engine *base, bool wanted)
{
    io_uring_cq_eventfd_toggle(&engine_of(base)->ring, wanted);
    /*
     * The kernel queues a completion and then reads the flag; this thread sets the flag and then
     * (in the caller) looks for completions. With full barriers, one of the two sees the other's
     * write.
     */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void entry_submit(struct io_engine_uring *engine, struct io_op *op)
{
    struct io_uring_sqe *entry = entry_take(engine);
    struct iovec *iov = op->buffers.iov;
    unsigned count = io_op_buffer_count(op);
    switch (op->kind) {
    case IO_READ:
        /* A single buffer saves the kernel copying the array. The length fits: a guest buffer is
         * shorter than 4 GiB, and the kernel transfers at most 2 GiB per call. */
        if (count == 1)
            io_uring_prep_read(entry, op->fd, iov->iov_base, (unsigned)iov->iov_len, op->offset);
        else
            io_uring_prep_readv(entry, op->fd, iov, count, op->offset);
        break;
    case IO_WRITE:
        if (count == 1)
            io_uring_prep_write(entry, op->fd, iov->iov_base, (unsigned)iov->iov_len, op->offset);
        else
            io_uring_prep_writev(entry, op->fd, iov, count, op->offset);
        break;
    case IO_DATASYNC:
        io_uring_prep_fsync(entry, op->fd, IORING_FSYNC_DATASYNC);
        break;
    case IO_FALLOCATE:
        io_uring_prep_fallocate(entry, op->fd, op->mode, (off_t)op->offset, (off_t)op->length);
        break;
    }
    io_uring_sqe_set_data(entry, op);
    engine->in_flight++;
}

static void uring_submit(struct io_engine *base, struct io_op *op)
{
    struct io_engine_uring *engine = engine_of(base);
    struct io_op *lone = engine->lone;
    bool idle = engine->in_flight == 0 && !lone;
    if (idle && op->kind == IO_WRITE && op->length <= LONE_BYTES_MAX) {
        engine->lone = op;
        return;
    }
    if (lone && !engine->lone_done) {
        engine->lone = NULL;
        entry_submit(engine, lone);
    }
    entry_submit(engine, op);
}

static void lone_write(struct io_engine_uring *engine)
{
    const struct io_op *op = engine->lone;
    if (!op || engine->lone_done)
        return;
    ssize_t written =
        pwritev(op->fd, op->buffers.iov, (int)io_op_buffer_count(op), (off_t)op->offset);
    engine->lone_result = written < 0 ? -errno : (int)written;
    engine->lone_done = true;
}

static void uring_send(struct io_engine *base)
{
    struct io_engine_uring *engine = engine_of(base);
    ring_send(&engine->ring);
    lone_write(engine);
}

/* Whether the kernel has pending completions that are not in the ring yet. */
static bool kernel_holds_completions(struct io_uring *ring)
{
    unsigned flags = __atomic_load_n(ring->sq.kflags, __ATOMIC_RELAXED);
    return flags & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

static bool uring_has_completions(struct io_engine *base)
{
    struct io_engine_uring *engine = engine_of(base);
    struct io_uring *ring = &engine->ring;
    return engine->lone_done || io_uring_cq_ready(ring) > 0 || kernel_holds_completions(ring);
}

/* Processes the result of an operation's call. */
static void op_continue(struct io_engine_uring *engine, struct io_op *op, int result)
{
    if (io_op_advance(op, result))
        op->done(op, op->result);
    else
        uring_submit(&engine->base, op);
}

static unsigned uring_reap(struct io_engine *base)
{
    struct io_engine_uring *engine = engine_of(base);
    struct io_uring *ring = &engine->ring;
    unsigned reaped = 0;
    if (engine->lone_done) {
        struct io_op *op = engine->lone;
        engine->lone = NULL;
        engine->lone_done = false;
        reaped++;
        op_continue(engine, op, engine->lone_result);
    }
    if (kernel_holds_completions(ring))
        io_uring_get_events(ring);
    /* Only the completions present now: operations that `done` submits wait for the next round. */
    for (unsigned ready = io_uring_cq_ready(ring); ready > 0; ready--) {
        struct io_uring_cqe *completion;
        if (io_uring_peek_cqe(ring, &completion) < 0)
            break;
        struct io_op *op = io_uring_cqe_get_data(completion);
        int result = completion->res;
        io_uring_cqe_seen(ring, completion);
        reaped++;
        engine->in_flight--;
        op_continue(engine, op, result);
    }
    return reaped;
}

/* Puts an engine that another thread may use into the stock. */
static void engine_return(struct io_engine_uring *engine)
{
    io_uring_unregister_ring_fd(&engine->ring);
    uring_set_events(&engine->base, false);
    pthread_mutex_lock(&stock.lock);
    engine->next = stock.reusable;
    stock.reusable = engine;
    pthread_mutex_unlock(&stock.lock);
}

static void uring_destroy(struct io_engine *base)
{
    struct io_engine_uring *engine = engine_of(base);
    if (engine->reusable) {
        engine_return(engine);
        return;
    }
    io_uring_queue_exit(&engine->ring);
    close(engine->event_fd);
    free(engine);
}

static const struct io_engine_ops URING_OPS = {
    .attach = uring_attach,
    .event_fd = uring_event_fd,
    .set_events = uring_set_events,
    .submit = uring_submit,
    .send = uring_send,
    .has_completions = uring_has_completions,
    .reap = uring_reap,
    .destroy = uring_destroy,
};

static int engine_create(struct io_engine_uring **out, bool reusable)
{
    struct io_engine_uring *engine = calloc(1, sizeof *engine);
    if (!engine)
        return -ENOMEM;
    engine->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int error = engine->event_fd < 0 ? -errno : ring_create(&engine->ring, reusable);
    if (error == 0) {
        error = io_uring_register_eventfd(&engine->ring, engine->event_fd);
        if (error == 0)
            error = ring_restrict(&engine->ring);
        if (error < 0)
            io_uring_queue_exit(&engine->ring);
    }
    if (error < 0) {
        if (engine->event_fd >= 0)
            close(engine->event_fd);
        free(engine);
        return error;
    }
    uring_set_events(&engine->base, false);
    engine->base.ops = &URING_OPS;
    engine->reusable = reusable;
    *out = engine;
    return 0;
}

static struct io_engine_uring *list_take(struct io_engine_uring **list)
{
    struct io_engine_uring *engine = *list;
    if (engine)
        *list = engine->next;
    return engine;
}

int io_engine_create_io_uring(struct io_engine **out)
{
    struct io_engine_uring *engine = NULL;
    pthread_mutex_lock(&stock.lock);
    bool filled = stock.filled;
    if (filled)
        engine = list_take(&stock.fresh);
    if (filled && !engine)
        engine = list_take(&stock.reusable);
    pthread_mutex_unlock(&stock.lock);
    if (filled && !engine)
        return io_engine_create_threads(out);
    int error = engine ? 0 : engine_create(&engine, false);
    if (error == 0)
        *out = &engine->base;
    return error;
}

int io_engine_stock_io_uring(unsigned count)
{
    int error = 0;
    pthread_mutex_lock(&stock.lock);
    stock.filled = true;
    for (unsigned i = 0; i < 2 * count && error == 0; i++) {
        struct io_engine_uring **list = i < count ? &stock.fresh : &stock.reusable;
        struct io_engine_uring *engine;
        error = engine_create(&engine, i >= count);
        if (error < 0)
            break;
        engine->next = *list;
        *list = engine;
    }
    pthread_mutex_unlock(&stock.lock);
    return error;
}
