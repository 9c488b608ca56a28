/* A disk with one session, on one thread, whose I/O an engine does or the test holds up. */
#ifndef TSVM_TEST_DISK_SETUP_H
#define TSVM_TEST_DISK_SETUP_H

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../src/backend/disk.h"
#include "check.h"

#define MIB (1024u * 1024u)

/* An engine that does nothing until the test says so. */
struct held_engine {
    struct io_engine base;
    struct io_op *ops[64];
    unsigned count;
};

static inline void held_submit(struct io_engine *base, struct io_op *op)
{
    struct held_engine *engine = (struct held_engine *)base;
    engine->ops[engine->count++] = op;
}

static inline void held_send(struct io_engine *base)
{
    (void)base;
}

static inline unsigned held_reap(struct io_engine *base)
{
    (void)base;
    return 0;
}

static const struct io_engine_ops HELD_OPS = {
    .submit = held_submit, .send = held_send, .reap = held_reap};

/* Ends the oldest operation. */
static inline struct io_op held_complete(struct held_engine *engine, int error)
{
    struct io_op *op = engine->ops[0], copy = *op;
    memmove(engine->ops, engine->ops + 1, --engine->count * sizeof engine->ops[0]);
    op->done(op, error);
    return copy;
}

/* A request that notes how it ended. */
struct tracked {
    struct disk_request request;
    bool ended;
    int error;
    struct iovec iov[8];
};

static inline void tracked_done(struct disk_request *request, int error)
{
    struct tracked *tracked = (struct tracked *)request;
    tracked->ended = true;
    tracked->error = error;
}

static inline void tracked_start(struct tracked *tracked, struct disk_session *session,
                                 enum disk_op op, uint64_t offset, uint64_t length, void *data)
{
    tracked->ended = false;
    tracked->request.op = op;
    tracked->request.offset = offset;
    tracked->request.length = length;
    tracked->request.done = tracked_done;
    tracked->request.buffers = (struct iov_span){0};
    if (data) {
        /* Three buffers that end at odd places. */
        uint64_t cuts[] = {0, length / 3 + 1, length / 2 + 3, length};
        tracked->request.buffers = (struct iov_span){.iov = tracked->iov, .count = 3};
        for (unsigned i = 0; i < 3; i++)
            tracked->iov[i] = (struct iovec){.iov_base = (uint8_t *)data + cuts[i],
                                             .iov_len = cuts[i + 1] - cuts[i]};
    }
    disk_submit(session, &tracked->request);
}

struct setup {
    struct disk disk;
    struct disk_session session;
    struct io_engine *engine;
    struct held_engine held;
    struct event_loop loop;
    struct event_source completions;
    unsigned wakes;
    unsigned quiet_calls;
};

static inline void count_call(void *context)
{
    ++*(unsigned *)context;
}

/* `create` NULL: the held engine. */
static inline void setup_init(struct setup *s, int (*create)(struct io_engine **), uint64_t size)
{
    *s = (struct setup){.held = {.base = {.ops = &HELD_OPS}}};
    disk_init(&s->disk, size, false, 0, (struct wake){count_call, &s->wakes},
              (struct wake){count_call, &s->quiet_calls});
    CHECK(event_loop_init(&s->loop) == 0);
    s->engine = &s->held.base;
    if (create) {
        CHECK(create(&s->engine) == 0);
        io_engine_attach(s->engine);
        io_engine_set_events(s->engine, true);
        s->completions = (struct event_source){.fd = io_engine_event_fd(s->engine)};
        CHECK(event_loop_add(&s->loop, &s->completions, EPOLLIN | EPOLLET) == 0);
    }
    disk_session_init(&s->session, &s->disk, s->engine, &s->loop);
}

static inline void setup_free(struct setup *s)
{
    if (s->engine != &s->held.base)
        io_engine_destroy(s->engine);
    disk_destroy(&s->disk);
    event_loop_destroy(&s->loop);
}

static inline void push(struct setup *s, uint64_t offset, uint64_t length, int fd,
                        uint64_t fd_offset, uint32_t flags)
{
    struct extent extent = {
        .offset = offset, .length = length, .fd = fd, .fd_offset = fd_offset, .flags = flags};
    CHECK(extent_map_push(&s->disk.extents, &extent, 1) == 0);
}

/* Sleeps until an operation completes or the script answers. */
static inline void rest(struct setup *s)
{
    if (!io_engine_has_completions(s->engine) && !disk_session_has_answers(&s->session))
        event_loop_wait(&s->loop);
}

/* Runs the session until the request has ended. */
static inline void await(struct setup *s, struct tracked *tracked)
{
    while (!tracked->ended) {
        unsigned done = disk_session_exchange(&s->session);
        io_engine_send(s->engine);
        done += io_engine_reap(s->engine);
        if (done == 0 && !tracked->ended)
            rest(s);
    }
}

static inline int run(struct setup *s, enum disk_op op, uint64_t offset, uint64_t length,
                      void *data)
{
    struct tracked tracked = {.request.may_unmap = false};
    tracked_start(&tracked, &s->session, op, offset, length, data);
    await(s, &tracked);
    return tracked.error;
}

static inline struct disk_script_request take(struct setup *s)
{
    struct disk_script_request taken = {0};
    disk_session_exchange(&s->session);
    CHECK(disk_script_take(&s->disk, &taken));
    return taken;
}

#endif
