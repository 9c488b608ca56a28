/* Disk requests over extents and scripts, with both engines on real files, and with a held one. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "../../src/backend/disk.h"
#include "../check.h"
#include "../host_file.h"

#define MIB (1024u * 1024u)

/* An engine that does nothing until the test says so. */
struct held_engine {
    struct io_engine base;
    struct io_op *ops[64];
    unsigned count;
};

static void held_submit(struct io_engine *base, struct io_op *op)
{
    struct held_engine *engine = (struct held_engine *)base;
    engine->ops[engine->count++] = op;
}

static void held_send(struct io_engine *base)
{
    (void)base;
}

static unsigned held_reap(struct io_engine *base)
{
    (void)base;
    return 0;
}

static const struct io_engine_ops HELD_OPS = {
    .submit = held_submit, .send = held_send, .reap = held_reap};

/* Ends the oldest operation. */
static struct io_op held_complete(struct held_engine *engine, int error)
{
    struct io_op *op = engine->ops[0], copy = *op;
    memmove(engine->ops, engine->ops + 1, --engine->count * sizeof(engine->ops[0]));
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

static void tracked_done(struct disk_request *request, int error)
{
    struct tracked *tracked = (struct tracked *)request;
    tracked->ended = true;
    tracked->error = error;
}

static void tracked_start(struct tracked *tracked, struct disk_session *session, enum disk_op op,
                          uint64_t offset, uint64_t length, void *data)
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
    int event;
    unsigned wakes;
    unsigned quiet_calls;
};

static void count_call(void *context)
{
    ++*(unsigned *)context;
}

/* `create` NULL: the held engine. */
static void setup_init(struct setup *s, int (*create)(struct io_engine **), uint64_t size)
{
    *s = (struct setup){.held = {.base = {.ops = &HELD_OPS}}};
    disk_init(&s->disk, size, false, 0, (struct wake){count_call, &s->wakes},
              (struct wake){count_call, &s->quiet_calls});
    s->event = eventfd(0, EFD_NONBLOCK);
    s->engine = &s->held.base;
    if (create) {
        CHECK(create(&s->engine) == 0);
        CHECK(io_engine_watch(s->engine, s->event) == 0);
        io_engine_attach(s->engine);
    }
    disk_session_init(&s->session, &s->disk, s->engine, s->event);
}

static void setup_free(struct setup *s)
{
    if (s->engine != &s->held.base)
        io_engine_destroy(s->engine);
    disk_destroy(&s->disk);
    close(s->event);
}

static void push(struct setup *s, uint64_t offset, uint64_t length, int fd, uint64_t fd_offset,
                 uint32_t flags)
{
    struct extent extent = {
        .offset = offset, .length = length, .fd = fd, .fd_offset = fd_offset, .flags = flags};
    CHECK(extent_map_push(&s->disk.extents, &extent, 1) == 0);
}

/* Runs the session until the request has ended. */
static void await(struct setup *s, struct tracked *tracked)
{
    while (!tracked->ended) {
        unsigned done = disk_session_exchange(&s->session);
        io_engine_send(s->engine);
        done += io_engine_reap(s->engine);
        if (done == 0 && !tracked->ended)
            io_engine_wait(s->engine);
    }
}

static int run(struct setup *s, enum disk_op op, uint64_t offset, uint64_t length, void *data)
{
    struct tracked tracked = {.request.may_unmap = false};
    tracked_start(&tracked, &s->session, op, offset, length, data);
    await(s, &tracked);
    return tracked.error;
}

static void requests_past_the_end_fail(void)
{
    struct setup s;
    setup_init(&s, NULL, 4096);
    CHECK(run(&s, DISK_READ, 4096, 512, NULL) == -EIO);
    CHECK(run(&s, DISK_READ, 3584, 1024, NULL) == -EIO);
    CHECK(run(&s, DISK_READ, UINT64_MAX - 511, 1024, NULL) == -EIO);
    CHECK(run(&s, DISK_WRITE, 0, UINT64_MAX - 511, NULL) == -EIO);
    s.disk.read_only = true;
    CHECK(run(&s, DISK_WRITE, 0, 512, NULL) == -EROFS);
    CHECK(run(&s, DISK_DISCARD, 0, 512, NULL) == -EROFS);
    CHECK(run(&s, DISK_WRITE_ZEROES, 0, 512, NULL) == -EROFS);
    CHECK(s.held.count == 0 && s.wakes == 0);
    setup_free(&s);
}

static void data_goes_to_files_and_back(int (*create)(struct io_engine **))
{
    struct setup s;
    static uint8_t written[3 * MIB], read[3 * MIB];
    int first = host_file(4 * MIB), second = host_file(4 * MIB);
    setup_init(&s, create, 16 * MIB);
    /* 64 KiB stripes over two files, so that a request takes several rounds. */
    for (unsigned i = 0; i < 64; i++)
        push(&s, i * 65536u, 65536, i % 2 ? first : second, (63 - i) / 2 * 65536u, 0);
    pattern_fill(written, sizeof(written), 1);
    CHECK(run(&s, DISK_WRITE, 512, sizeof(written), written) == 0);
    CHECK(run(&s, DISK_READ, 512, sizeof(read), read) == 0);
    CHECK(memcmp(written, read, sizeof(read)) == 0);
    /* Guest offset 65536 is the second stripe: place 31 of `first`. */
    CHECK(pread(first, read, 4096, 31 * 65536) == 4096);
    CHECK(memcmp(written + 65536 - 512, read, 4096) == 0);
    CHECK(run(&s, DISK_FLUSH, 0, 0, NULL) == 0);
    setup_free(&s);
    close(first);
    close(second);
}

static void zero_extents_read_as_zeroes(int (*create)(struct io_engine **))
{
    struct setup s;
    uint8_t data[4096], zero[2048] = {0}, ones[2048];
    int fd = host_file(MIB);
    memset(ones, 1, sizeof(ones));
    CHECK(pwrite(fd, ones, sizeof(ones), 0) == sizeof(ones));
    setup_init(&s, create, MIB);
    push(&s, 0, 2048, -1, 0, EXTENT_ZERO);
    push(&s, 2048, 2048, fd, 0, EXTENT_READ_ONLY);
    memset(data, 7, sizeof(data));
    CHECK(run(&s, DISK_READ, 0, 4096, data) == 0);
    CHECK(memcmp(data, zero, 2048) == 0 && memcmp(data + 2048, ones, 2048) == 0);
    CHECK(run(&s, DISK_WRITE_ZEROES, 0, 2048, NULL) == 0); /* nothing to do */
    setup_free(&s);
    close(fd);
}

/* A file that shrank has lost data: that is an error, not zeroes. */
static void read_past_the_end_of_the_file_fails(int (*create)(struct io_engine **))
{
    struct setup s;
    static uint8_t data[8192];
    int fd = host_file(4096);
    setup_init(&s, create, 8192);
    push(&s, 0, 8192, fd, 0, 0);
    CHECK(run(&s, DISK_READ, 0, 8192, data) == -EIO);
    CHECK(run(&s, DISK_READ, 4096, 4096, data) == -EIO);
    CHECK(run(&s, DISK_READ, 0, 4096, data) == 0);
    setup_free(&s);
    close(fd);
}

static void failing_write_is_reported(int (*create)(struct io_engine **))
{
    struct setup s;
    static uint8_t data[4096];
    int fd = open("/dev/null", O_RDONLY);
    setup_init(&s, create, 8192);
    push(&s, 0, 8192, fd, 0, 0);
    CHECK(run(&s, DISK_WRITE, 0, 4096, data) == -EBADF);
    setup_free(&s);
    close(fd);
}

/* More buffers than one system call takes. */
static void many_buffers(int (*create)(struct io_engine **))
{
    enum { COUNT = 3000 };
    static struct iovec iov[COUNT];
    static uint8_t written[COUNT * 512], read[COUNT * 512];
    struct setup s;
    int fd = host_file(sizeof(written));
    setup_init(&s, create, sizeof(written));
    push(&s, 0, sizeof(written), fd, 0, 0);
    pattern_fill(written, sizeof(written), 3);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < COUNT; i++)
            iov[i] = (struct iovec){(pass ? read : written) + i * 512, 512};
        struct tracked t = {.request = {.op = pass ? DISK_READ : DISK_WRITE,
                                        .length = sizeof(written),
                                        .buffers = {iov, COUNT},
                                        .done = tracked_done}};
        disk_submit(&s.session, &t.request);
        await(&s, &t);
        CHECK(t.error == 0);
    }
    CHECK(memcmp(written, read, sizeof(read)) == 0);
    setup_free(&s);
    close(fd);
}

static void discard_and_write_zeroes(int (*create)(struct io_engine **), int (*file)(uint64_t))
{
    struct setup s;
    static uint8_t data[4 * MIB], zero[4 * MIB];
    struct stat before, after;
    int fd = file(4 * MIB);
    setup_init(&s, create, 4 * MIB);
    push(&s, 0, 4 * MIB, fd, 0, 0);
    memset(data, 1, sizeof(data));
    CHECK(run(&s, DISK_WRITE, 0, 4 * MIB, data) == 0);
    CHECK(run(&s, DISK_WRITE_ZEROES, 512, 3 * MIB - 512, NULL) == 0);
    CHECK(run(&s, DISK_READ, 0, 4 * MIB, data) == 0);
    CHECK(data[511] == 1 && data[3 * MIB] == 1);
    CHECK(memcmp(data + 512, zero, 3 * MIB - 512) == 0);

    memset(data, 1, sizeof(data));
    CHECK(run(&s, DISK_WRITE, 0, 4 * MIB, data) == 0);
    CHECK(run(&s, DISK_FLUSH, 0, 0, NULL) == 0);
    fstat(fd, &before);
    struct tracked t = {.request.may_unmap = true};
    tracked_start(&t, &s.session, DISK_WRITE_ZEROES, 0, MIB, NULL);
    await(&s, &t);
    CHECK(t.error == 0);
    CHECK(run(&s, DISK_DISCARD, MIB, MIB, NULL) == 0);
    fstat(fd, &after);
    CHECK(after.st_blocks <= before.st_blocks - 2 * (MIB / 512) && after.st_size == 4 * MIB);
    CHECK(run(&s, DISK_READ, 0, 4 * MIB, data) == 0);
    CHECK(memcmp(data, zero, 2 * MIB) == 0 && data[2 * MIB] == 1);
    setup_free(&s);
    close(fd);
}

static struct disk_script_request take(struct setup *s)
{
    struct disk_script_request taken = {0};
    disk_session_exchange(&s->session);
    CHECK(disk_script_take(&s->disk, &taken));
    return taken;
}

static void script_resolves_a_gap(int (*create)(struct io_engine **))
{
    struct setup s;
    static uint8_t written[8192], read[8192];
    int fd = host_file(MIB);
    setup_init(&s, create, MIB);
    push(&s, 0, 4096, fd, 0, 0);
    pattern_fill(written, sizeof(written), 5);
    struct tracked t = {0}, other = {0};
    tracked_start(&t, &s.session, DISK_WRITE, 0, 8192, written);
    while (!s.session.asking.first) {
        io_engine_send(s.engine);
        if (io_engine_reap(s.engine) == 0)
            io_engine_wait(s.engine);
    }
    struct disk_script_request asked = take(&s);
    CHECK(s.wakes == 1);
    CHECK(asked.op == DISK_WRITE && asked.offset == 0 && asked.length == 8192);
    CHECK(asked.gap_offset == 4096);
    CHECK(disk_script_data_bytes(&s.disk, asked.id) == 8192);
    CHECK(disk_script_copy_data(&s.disk, asked.id, read, 8192) == 0);
    CHECK(memcmp(read, written, 8192) == 0);
    CHECK(disk_script_copy_data(&s.disk, asked.id, read, 8191) == -EINVAL);

    /* It holds nothing else up. */
    tracked_start(&other, &s.session, DISK_READ, 0, 4096, read);
    await(&s, &other);
    CHECK(other.error == 0 && !t.ended);

    push(&s, 4096, 4096, fd, 65536, 0);
    CHECK(disk_script_retry(&s.disk, asked.id) == 0);
    CHECK(disk_script_retry(&s.disk, asked.id) == -EINVAL); /* it has been answered */
    await(&s, &t);
    CHECK(t.error == 0);
    CHECK(pread(fd, read, 4096, 65536) == 4096 && memcmp(read, written + 4096, 4096) == 0);
    setup_free(&s);
    close(fd);
}

static void script_finishes_requests(void)
{
    struct setup s;
    uint8_t data[1024] = {0}, answer[1024];
    struct tracked t = {0};
    setup_init(&s, NULL, MIB);
    pattern_fill(answer, sizeof(answer), 9);
    tracked_start(&t, &s.session, DISK_READ, 0, 1024, data);
    struct disk_script_request asked = take(&s);
    CHECK(disk_script_finish(&s.disk, asked.id + 1, 0, answer, 1024) == -EINVAL);
    CHECK(disk_script_finish(&s.disk, asked.id, 0, answer, 1023) == -EINVAL);
    CHECK(disk_script_finish(&s.disk, asked.id, 0, NULL, 0) == -EINVAL); /* no data: no success */
    CHECK(disk_script_data_bytes(&s.disk, asked.id) == -EINVAL);         /* not a write */
    CHECK(disk_script_finish(&s.disk, asked.id, 0, answer, 1024) == 0);
    await(&s, &t);
    CHECK(t.error == 0 && memcmp(data, answer, 1024) == 0);

    tracked_start(&t, &s.session, DISK_READ, 0, 1024, data);
    CHECK(disk_script_finish(&s.disk, take(&s).id, -EIO, NULL, 0) == 0);
    await(&s, &t);
    CHECK(t.error == -EIO);
    setup_free(&s);
}

static void writes_to_read_only_and_zero_extents_go_to_the_script(void)
{
    struct setup s;
    uint8_t data[512] = {0};
    setup_init(&s, NULL, MIB);
    push(&s, 0, 512, 3, 0, EXTENT_READ_ONLY);
    push(&s, 512, 512, -1, 0, EXTENT_ZERO);
    for (unsigned i = 0; i < 2; i++) {
        struct tracked t = {0};
        tracked_start(&t, &s.session, DISK_WRITE, i * 512, 512, data);
        CHECK(disk_script_finish(&s.disk, take(&s).id, 0, NULL, 0) == 0);
        await(&s, &t);
        CHECK(t.error == 0);
    }
    CHECK(s.held.count == 0);
    setup_free(&s);
}

static void scripted_flush_is_asked_first(void)
{
    struct setup s;
    setup_init(&s, NULL, MIB);
    push(&s, 0, MIB, 3, 0, 0);
    disk_set_scripted(&s.disk, DISK_SCRIPTED_FLUSH);
    struct tracked t = {0};
    tracked_start(&t, &s.session, DISK_FLUSH, 0, 0, NULL);
    CHECK(s.held.count == 0);
    struct disk_script_request asked = take(&s);
    CHECK(asked.op == DISK_FLUSH && asked.offset == 0 && asked.length == 0);
    CHECK(disk_script_retry(&s.disk, asked.id) == 0); /* now the native part */
    disk_session_exchange(&s.session);
    CHECK(s.held.count == 1 && s.held.ops[0]->kind == IO_DATASYNC);
    held_complete(&s.held, 0);
    CHECK(t.ended && t.error == 0);
    setup_free(&s);
}

static void flush_syncs_every_file_and_reports_errors(void)
{
    struct setup s;
    setup_init(&s, NULL, MIB);
    for (int i = 0; i < 11; i++)
        push(&s, (uint64_t)i * 4096, 4096, 10 + i, 0, i == 10 ? EXTENT_READ_ONLY : 0);
    struct tracked t = {0};
    tracked_start(&t, &s.session, DISK_FLUSH, 0, 0, NULL);
    CHECK(s.held.count == 8); /* the first round */
    for (int i = 0; i < 10; i++)
        CHECK(held_complete(&s.held, i == 9 ? -ENOSPC : 0).fd == 10 + i);
    CHECK(t.ended && t.error == -ENOSPC);
    setup_free(&s);
}

/* 5.2.6.2: without FLUSH a write completes only when it is stable. */
static void stable_write_is_followed_by_a_flush(void)
{
    struct setup s;
    uint8_t data[512] = {0};
    setup_init(&s, NULL, MIB);
    push(&s, 0, MIB, 3, 0, 0);
    struct tracked t = {.request.stable = true};
    tracked_start(&t, &s.session, DISK_WRITE, 0, 512, data);
    CHECK(held_complete(&s.held, 0).kind == IO_WRITE && !t.ended);
    CHECK(s.held.count == 1 && held_complete(&s.held, 0).kind == IO_DATASYNC);
    CHECK(t.ended && t.error == 0);
    setup_free(&s);
}

static void discard_is_a_hint(void)
{
    struct setup s;
    setup_init(&s, NULL, MIB);
    push(&s, 0, MIB, 3, 0, 0);
    const int errors[] = {-EOPNOTSUPP, -EINVAL, -EIO};
    for (unsigned i = 0; i < 3; i++) {
        struct tracked t = {0};
        tracked_start(&t, &s.session, DISK_DISCARD, 0, 4096, NULL);
        CHECK(held_complete(&s.held, errors[i]).kind == IO_FALLOCATE);
        CHECK(t.ended && t.error == (errors[i] == -EIO ? -EIO : 0));
    }
    setup_free(&s);
}

static void withdrawal_waits_for_io_in_flight(void)
{
    struct setup s;
    uint8_t data[8192] = {0};
    setup_init(&s, NULL, MIB);
    push(&s, 0, 4096, 3, 0, 0);
    push(&s, 4096, 4096, 4, 0, 0);
    struct tracked t = {0};
    tracked_start(&t, &s.session, DISK_READ, 0, 8192, data);
    CHECK(s.held.count == 2);
    uint64_t ticket = extent_map_withdraw(&s.disk.extents, 4096, 4096);
    held_complete(&s.held, 0);
    CHECK(!extent_map_is_quiet(&s.disk.extents, ticket) && s.quiet_calls == 0);
    held_complete(&s.held, 0);
    CHECK(extent_map_is_quiet(&s.disk.extents, ticket) && s.quiet_calls == 1);
    CHECK(t.ended && t.error == 0);
    /* And nothing new finds it. */
    tracked_start(&t, &s.session, DISK_READ, 4096, 4096, data);
    CHECK(s.held.count == 0 && s.session.asking.first);
    CHECK(disk_script_finish(&s.disk, take(&s).id, -EIO, NULL, 0) == 0);
    await(&s, &t);
    setup_free(&s);
}

/* The first error of a round ends the request, once all of the round is over. */
static void error_of_one_piece_fails_the_request(void)
{
    struct setup s;
    uint8_t data[8192] = {0};
    setup_init(&s, NULL, MIB);
    push(&s, 0, 4096, 3, 0, 0);
    push(&s, 4096, 4096, 4, 0, 0);
    struct tracked t = {0};
    tracked_start(&t, &s.session, DISK_WRITE, 0, 8192, data);
    held_complete(&s.held, -ENOSPC);
    CHECK(!t.ended);
    held_complete(&s.held, 0);
    CHECK(t.ended && t.error == -ENOSPC);
    setup_free(&s);
}

static void with_engine(int (*create)(struct io_engine **))
{
    data_goes_to_files_and_back(create);
    zero_extents_read_as_zeroes(create);
    read_past_the_end_of_the_file_fails(create);
    failing_write_is_reported(create);
    many_buffers(create);
    discard_and_write_zeroes(create, host_file);
    discard_and_write_zeroes(create, memory_file);
    script_resolves_a_gap(create);
}

int main(void)
{
    requests_past_the_end_fail();
    script_finishes_requests();
    writes_to_read_only_and_zero_extents_go_to_the_script();
    scripted_flush_is_asked_first();
    flush_syncs_every_file_and_reports_errors();
    stable_write_is_followed_by_a_flush();
    discard_is_a_hint();
    withdrawal_waits_for_io_in_flight();
    error_of_one_piece_fails_the_request();
    with_engine(io_engine_create_threads);
    if (io_engine_probe_io_uring())
        with_engine(io_engine_create_io_uring);
    else
        printf("io_uring: skipped, this host refuses it\n");
    return check_finish();
}
