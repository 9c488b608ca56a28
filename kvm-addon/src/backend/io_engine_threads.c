/*
 * The engine for hosts without io_uring: blocking calls on a few threads. Reads that the page cache
 * can serve are executed immediately, without a thread.
 */
#include "io_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../sandbox/sandbox.h"
#include "../util/thread_signals.h"

/* Maximum number of concurrent blocking operations. */
#define THREADS_MAX 8

/* A FIFO queue of operations. */
struct op_list {
    struct io_op *first;
    struct io_op *last;
};

struct io_engine_threads {
    struct io_engine base;
    /* Used only by the serving thread. */
    struct op_list unsent;
    struct op_list complete;

    pthread_mutex_t lock; /* protects the fields below */
    pthread_cond_t work;
    struct op_list pending;
    struct op_list done;
    bool stop;
    unsigned idle_count;
    unsigned thread_count;
    pthread_t threads[THREADS_MAX];
    int done_event; /* signalled when `done` becomes non-empty */
};

static struct io_engine_threads *engine_of(struct io_engine *base)
{
    return (struct io_engine_threads *)base;
}

static void list_append(struct op_list *list, struct io_op *op)
{
    op->next = NULL;
    if (list->first)
        list->last->next = op;
    else
        __atomic_store_n(&list->first, op, __ATOMIC_RELAXED);
    list->last = op;
}

static struct io_op *list_take(struct op_list *list)
{
    struct io_op *op = list->first;
    if (op)
        __atomic_store_n(&list->first, op->next, __ATOMIC_RELAXED);
    return op;
}

static struct op_list list_take_all(struct op_list *list)
{
    struct op_list all = *list;
    __atomic_store_n(&list->first, NULL, __ATOMIC_RELAXED);
    return all;
}

/* Makes one system call, with the `flags` of preadv2(2). Returns its result or -errno. */
static int op_call(const struct io_op *op, int flags)
{
    const struct iov_span *buffers = &op->buffers;
    int count = (int)io_op_buffer_count(op);
    ssize_t result = -1;
    switch (op->kind) {
    case IO_READ:
        result = preadv2(op->fd, buffers->iov, count, (off_t)op->offset, flags);
        break;
    case IO_WRITE:
        result = pwritev2(op->fd, buffers->iov, count, (off_t)op->offset, flags);
        break;
    case IO_DATASYNC:
        result = fdatasync(op->fd);
        break;
    case IO_FALLOCATE:
        result = fallocate(op->fd, op->mode, (off_t)op->offset, (off_t)op->length);
        break;
    }
    return result < 0 ? -errno : (int)result;
}

static void op_run(struct io_op *op)
{
    while (!io_op_advance(op, op_call(op, 0)))
        ;
}

static void *thread_main(void *argument)
{
    struct io_engine_threads *engine = argument;
    sandbox_name_thread("a disk's I/O thread");
    pthread_mutex_lock(&engine->lock);
    for (;;) {
        struct io_op *op = list_take(&engine->pending);
        if (!op && engine->stop)
            break;
        if (!op) {
            engine->idle_count++;
            pthread_cond_wait(&engine->work, &engine->lock);
            engine->idle_count--;
            continue;
        }
        pthread_mutex_unlock(&engine->lock);
        op_run(op);
        pthread_mutex_lock(&engine->lock);
        bool was_empty = engine->done.first == NULL;
        list_append(&engine->done, op);
        if (was_empty)
            eventfd_write(engine->done_event, 1);
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* Starts another thread, unless the limit is reached. Called with the lock held. */
static void thread_start(struct io_engine_threads *engine)
{
    if (engine->thread_count == THREADS_MAX)
        return;
    sigset_t blocked, before;
    thread_signals_fill(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    if (pthread_create(&engine->threads[engine->thread_count], NULL, thread_main, engine) == 0)
        engine->thread_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void threads_attach(struct io_engine *base)
{
    (void)base;
}

static int threads_event_fd(const struct io_engine *base)
{
    return ((const struct io_engine_threads *)base)->done_event;
}

/* Events stay enabled: one signal per batch is cheap. */
static void threads_set_events(struct io_engine *base, bool wanted)
{
    (void)base;
    (void)wanted;
}

static void threads_submit(struct io_engine *base, struct io_op *op)
{
    struct io_engine_threads *engine = engine_of(base);
    if (op->kind == IO_READ) {
        int result = op_call(op, RWF_NOWAIT);
        /* An error may only mean that the call would block; a thread repeats it. The same applies
         * at the end of the file. */
        if (result > 0 && io_op_advance(op, result)) {
            list_append(&engine->complete, op);
            return;
        }
    }
    list_append(&engine->unsent, op);
}

static void threads_send(struct io_engine *base)
{
    struct io_engine_threads *engine = engine_of(base);
    if (!engine->unsent.first)
        return;
    pthread_mutex_lock(&engine->lock);
    unsigned idle = engine->idle_count;
    struct io_op *op;
    while ((op = list_take(&engine->unsent)) != NULL) {
        list_append(&engine->pending, op);
        if (idle > 0) {
            idle--;
            pthread_cond_signal(&engine->work);
        } else {
            thread_start(engine);
        }
    }
    /* If no thread can be created, this thread makes the calls itself. */
    while (engine->thread_count == 0 && (op = list_take(&engine->pending)) != NULL) {
        op_run(op);
        list_append(&engine->complete, op);
    }
    pthread_mutex_unlock(&engine->lock);
}

static bool threads_has_completions(struct io_engine *base)
{
    struct io_engine_threads *engine = engine_of(base);
    /* A hint, read without the lock. */
    return engine->complete.first || __atomic_load_n(&engine->done.first, __ATOMIC_RELAXED);
}

static unsigned reap_list(struct op_list list)
{
    unsigned reaped = 0;
    struct io_op *op;
    while ((op = list_take(&list)) != NULL) {
        op->done(op, op->result);
        reaped++;
    }
    return reaped;
}

static unsigned threads_reap(struct io_engine *base)
{
    struct io_engine_threads *engine = engine_of(base);
    if (!threads_has_completions(base))
        return 0;
    pthread_mutex_lock(&engine->lock);
    struct op_list done = list_take_all(&engine->done);
    pthread_mutex_unlock(&engine->lock);
    return reap_list(list_take_all(&engine->complete)) + reap_list(done);
}

static void threads_destroy(struct io_engine *base)
{
    struct io_engine_threads *engine = engine_of(base);
    pthread_mutex_lock(&engine->lock);
    engine->stop = true;
    pthread_cond_broadcast(&engine->work);
    pthread_mutex_unlock(&engine->lock);
    for (unsigned i = 0; i < engine->thread_count; i++)
        pthread_join(engine->threads[i], NULL);
    pthread_cond_destroy(&engine->work);
    pthread_mutex_destroy(&engine->lock);
    close(engine->done_event);
    free(engine);
}

static const struct io_engine_ops THREADS_OPS = {
    .attach = threads_attach,
    .event_fd = threads_event_fd,
    .set_events = threads_set_events,
    .submit = threads_submit,
    .send = threads_send,
    .has_completions = threads_has_completions,
    .reap = threads_reap,
    .destroy = threads_destroy,
};

int io_engine_create_threads(struct io_engine **out)
{
    struct io_engine_threads *engine = calloc(1, sizeof *engine);
    if (!engine)
        return -ENOMEM;
    engine->done_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (engine->done_event < 0) {
        int error = -errno;
        free(engine);
        return error;
    }
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->work, NULL);
    engine->base.ops = &THREADS_OPS;
    *out = &engine->base;
    return 0;
}
