/* Disk requests step by step: which go to the engine, and which to the script. */
#include "../disk_setup.h"
#include "../host_file.h"

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

static void script_finishes_requests(void)
{
    struct setup s;
    uint8_t data[1024] = {0}, answer[1024];
    struct tracked t = {0};
    setup_init(&s, NULL, MIB);
    pattern_fill(answer, sizeof answer, 9);
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
    return check_finish();
}
