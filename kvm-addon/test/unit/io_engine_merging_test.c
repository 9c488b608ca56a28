/* Which operations are merged, and that each ends as it would alone. */
#include "../disk_setup.h"

enum { OPS = 8 };

struct merging_setup {
    struct held_engine held;
    struct io_engine *engine;
    struct io_op ops[OPS];
    struct iovec iov[OPS][256];
    int errors[OPS];
    unsigned ended;
};

static struct merging_setup *current;

static void note_end(struct io_op *op, int error)
{
    current->errors[op - current->ops] = error;
    current->ended++;
}

static void merging_init(struct merging_setup *s)
{
    *s = (struct merging_setup){.held = {.base = {.ops = &HELD_OPS}}};
    CHECK(io_engine_create_merging(&s->engine, &s->held.base) == 0);
    current = s;
}

static uint8_t data[4 * MIB];

/* Submits operation `index`, whose data has its own place in `data`, in `buffers` parts. */
static void submit(struct merging_setup *s, unsigned index, enum io_kind kind, int fd,
                   uint64_t offset, uint64_t length, unsigned buffers)
{
    for (unsigned i = 0; i < buffers; i++)
        s->iov[index][i] = (struct iovec){.iov_base = data + offset + i * (length / buffers),
                                          .iov_len = length / buffers};
    s->ops[index] = (struct io_op){.kind = kind,
                                   .fd = fd,
                                   .offset = offset,
                                   .length = length,
                                   .buffers = {.iov = s->iov[index], .count = buffers},
                                   .done = note_end};
    io_engine_submit(s->engine, &s->ops[index]);
}

/* The merging engine is on the test's stack. */
static void held_destroy(struct io_engine *base)
{
    (void)base;
}

static void merging_free(struct merging_setup *s)
{
    struct io_engine_ops ops = HELD_OPS;
    ops.destroy = held_destroy;
    s->held.base.ops = &ops;
    io_engine_destroy(s->engine);
}

static void adjoining_operations_are_one(void)
{
    struct merging_setup s;
    merging_init(&s);
    submit(&s, 0, IO_WRITE, 3, 4096, 8192, 2);
    submit(&s, 1, IO_WRITE, 3, 12288, 4096, 1);
    submit(&s, 2, IO_WRITE, 3, 16384, 512, 1);
    CHECK(s.held.count == 0);
    io_engine_send(s.engine);
    CHECK(s.held.count == 1);
    const struct io_op *joined = s.held.ops[0];
    CHECK(joined->kind == IO_WRITE && joined->fd == 3);
    CHECK(joined->offset == 4096 && joined->length == 12800 && joined->buffers.count == 4);
    uint8_t *at = data + 4096;
    for (unsigned i = 0; i < joined->buffers.count; i++) {
        CHECK(joined->buffers.iov[i].iov_base == at);
        at += joined->buffers.iov[i].iov_len;
    }
    CHECK(at == data + 16896);
    held_complete(&s.held, 0);
    CHECK(s.ended == 3 && !s.errors[0] && !s.errors[1] && !s.errors[2]);
    CHECK(s.ops[2].offset == 16896 && s.ops[2].length == 0);
    merging_free(&s);
}

static void others_stay_apart(void)
{
    struct merging_setup s;
    merging_init(&s);
    submit(&s, 0, IO_WRITE, 3, 0, 4096, 1);
    submit(&s, 1, IO_READ, 3, 4096, 4096, 1);  /* another kind */
    submit(&s, 2, IO_READ, 4, 8192, 4096, 1);  /* another file */
    submit(&s, 3, IO_READ, 4, 16384, 4096, 1); /* a gap */
    submit(&s, 4, IO_READ, 4, 12288, 4096, 1); /* backwards */
    CHECK(s.held.count == 4);
    io_engine_send(s.engine);
    CHECK(s.held.count == 5);
    submit(&s, 5, IO_READ, 4, 16384, 4096, 1); /* sent meanwhile */
    io_engine_send(s.engine);
    CHECK(s.held.count == 6);
    for (unsigned i = 0; i < 6; i++)
        CHECK(s.held.ops[i] == &s.ops[i]);
    while (s.held.count > 0)
        held_complete(&s.held, 0);
    CHECK(s.ended == 6);
    merging_free(&s);
}

static void joined_operations_have_limits(void)
{
    struct merging_setup s;
    merging_init(&s);
    submit(&s, 0, IO_READ, 3, 0, 3 * MIB / 4, 1);
    submit(&s, 1, IO_READ, 3, 3 * MIB / 4, MIB / 4, 1);
    submit(&s, 2, IO_READ, 3, MIB, 512, 1); /* one byte too many */
    CHECK(s.held.count == 1 && s.held.ops[0]->length == MIB);
    io_engine_send(s.engine);
    submit(&s, 3, IO_READ, 3, 0, 255 * 512, 255);
    submit(&s, 4, IO_READ, 3, 255 * 512, 512, 1);
    submit(&s, 5, IO_READ, 3, 256 * 512, 512, 1); /* one buffer too many */
    CHECK(s.held.count == 3 && s.held.ops[2]->buffers.count == 256);
    io_engine_send(s.engine);
    while (s.held.count > 0)
        held_complete(&s.held, 0);
    CHECK(s.ended == 6);
    merging_free(&s);
}

static void each_part_fails_by_itself(void)
{
    struct merging_setup s;
    merging_init(&s);
    submit(&s, 0, IO_WRITE, 3, 0, 4096, 1);
    submit(&s, 1, IO_WRITE, 3, 4096, 4096, 2);
    io_engine_send(s.engine);
    CHECK(s.held.count == 1);
    held_complete(&s.held, -ENOSPC);
    CHECK(s.ended == 0 && s.held.count == 2);
    CHECK(s.ops[1].offset == 4096 && s.ops[1].length == 4096 && s.ops[1].buffers.count == 2);
    CHECK(s.ops[1].buffers.iov[1].iov_len == 2048);
    held_complete(&s.held, 0);
    held_complete(&s.held, -ENOSPC);
    CHECK(s.ended == 2 && s.errors[0] == 0 && s.errors[1] == -ENOSPC);
    merging_free(&s);
}

static void syncs_and_holes_go_at_once(void)
{
    struct merging_setup s;
    merging_init(&s);
    submit(&s, 0, IO_DATASYNC, 3, 0, 0, 0);
    submit(&s, 1, IO_FALLOCATE, 3, 0, 4096, 0);
    CHECK(s.held.count == 2);
    while (s.held.count > 0)
        held_complete(&s.held, 0);
    merging_free(&s);
}

int main(void)
{
    adjoining_operations_are_one();
    others_stay_apart();
    joined_operations_have_limits();
    each_part_fails_by_itself();
    syncs_and_holes_go_at_once();
    return check_finish();
}
