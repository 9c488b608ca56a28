/* The stock: claims by writes to zeroes, and what is reported to the owner. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "../../src/backend/extent_map.h"
#include "../check.h"

#define UNIT 4096u
#define FD 7
#define FOUND_MAX 64u

static struct wake no_wake;

static void zeroes_push(struct extent_map *map, uint64_t offset, uint64_t length, uint32_t flags)
{
    struct extent zeroes = {.offset = offset, .length = length, .flags = EXTENT_ZERO | flags};
    CHECK(extent_map_push(map, &zeroes, 1) == 0);
}

static unsigned find(struct extent_map *map, enum extent_access access, uint64_t offset,
                     uint64_t length, struct extent *found)
{
    struct extent_use use;
    unsigned count = extent_map_acquire(map, &use, access, offset, length, found, FOUND_MAX);
    if (count > 0)
        extent_map_release(map, &use);
    return count;
}

static bool claim_is(const struct claim *claim, uint64_t offset, uint64_t length,
                     uint64_t fd_offset)
{
    return claim->offset == offset && claim->length == length && claim->fd_offset == fd_offset;
}

static void a_write_to_zeroes_gets_whole_units(void)
{
    struct extent_map map;
    struct extent found[FOUND_MAX];
    struct claim claims[4];
    extent_map_init(&map, no_wake);
    zeroes_push(&map, 0, 64 * UNIT, 0);
    CHECK(find(&map, EXTENT_FOR_WRITE, 512, 512, found) == 0); /* nothing to claim */
    CHECK(extent_map_add_stock(&map, FD, UNIT, 100 * UNIT, 8 * UNIT) == 0);
    CHECK(!extent_map_has_claims(&map));

    CHECK(find(&map, EXTENT_FOR_WRITE, 3 * UNIT + 512, UNIT, found) == 1);
    CHECK(found[0].fd == FD && found[0].fd_offset == 100 * UNIT + 512 && found[0].length == UNIT);
    CHECK(find(&map, EXTENT_FOR_READ, 2 * UNIT, 4 * UNIT, found) == 3);
    CHECK(found[0].flags == EXTENT_ZERO && found[0].length == UNIT);
    CHECK(found[1].fd_offset == 100 * UNIT && found[1].length == 2 * UNIT);
    CHECK(found[2].flags == EXTENT_ZERO && found[2].offset == 5 * UNIT);

    /* Mapped ranges keep their place; ranges adjacent on the disk and in the file are one claim. */
    CHECK(find(&map, EXTENT_FOR_WRITE, 4 * UNIT, 2 * UNIT, found) == 2);
    CHECK(find(&map, EXTENT_FOR_WRITE, 20 * UNIT, 512, found) == 1);
    CHECK(extent_map_has_claims(&map));
    CHECK(extent_map_take_claims(&map, claims, 4) == 2);
    CHECK(claim_is(&claims[0], 3 * UNIT, 3 * UNIT, 100 * UNIT));
    CHECK(claim_is(&claims[1], 20 * UNIT, UNIT, 103 * UNIT));
    CHECK(!extent_map_has_claims(&map) && extent_map_take_claims(&map, claims, 4) == 0);
    extent_map_destroy(&map);
}

static void only_whole_units_of_zeroes_that_may_be_written_are_claimed(void)
{
    struct extent_map map;
    struct extent found[FOUND_MAX];
    extent_map_init(&map, no_wake);
    CHECK(extent_map_add_stock(&map, FD, UNIT, 0, 8 * UNIT) == 0);
    zeroes_push(&map, 512, 2 * UNIT, 0); /* one whole unit, and parts of two */
    zeroes_push(&map, 8 * UNIT, UNIT, EXTENT_READ_ONLY);
    CHECK(find(&map, EXTENT_FOR_WRITE, 512, 512, found) == 0);
    CHECK(find(&map, EXTENT_FOR_WRITE, 2 * UNIT, 512, found) == 0);
    CHECK(find(&map, EXTENT_FOR_WRITE, 8 * UNIT, 512, found) == 0);
    CHECK(!extent_map_has_claims(&map));
    CHECK(find(&map, EXTENT_FOR_WRITE, UNIT, 2 * UNIT, found) == 1 && found[0].length == UNIT);
    /* A discard and a read claim nothing. */
    zeroes_push(&map, 16 * UNIT, UNIT, 0);
    CHECK(find(&map, EXTENT_FOR_DISCARD, 16 * UNIT, UNIT, found) == 1);
    CHECK(find(&map, EXTENT_FOR_READ, 16 * UNIT, UNIT, found) == 1);
    struct claim claims[4];
    CHECK(extent_map_take_claims(&map, claims, 4) == 1 && claim_is(&claims[0], UNIT, UNIT, 0));
    extent_map_destroy(&map);
}

static void nothing_is_claimed_while_it_is_not_allowed(void)
{
    struct extent_map map;
    struct extent found[FOUND_MAX];
    extent_map_init(&map, no_wake);
    zeroes_push(&map, 0, 8 * UNIT, 0);
    CHECK(extent_map_add_stock(&map, FD, UNIT, 0, 8 * UNIT) == 0);
    extent_map_set_claiming(&map, false);
    CHECK(find(&map, EXTENT_FOR_WRITE, 0, 512, found) == 0);
    extent_map_set_claiming(&map, true);
    CHECK(find(&map, EXTENT_FOR_WRITE, 0, 512, found) == 1);
    extent_map_destroy(&map);
}

static void runs_are_used_one_after_the_other_and_the_owner_is_told_once(void)
{
    struct extent_map map;
    struct extent found[FOUND_MAX];
    struct claim claims[4];
    extent_map_init(&map, no_wake);
    zeroes_push(&map, 0, 64 * UNIT, 0);
    CHECK(extent_map_add_stock(&map, FD, UNIT, 10 * UNIT, 2 * UNIT) == 0);
    CHECK(extent_map_add_stock(&map, FD, UNIT, 50 * UNIT, 2 * UNIT) == 0);
    CHECK(!extent_map_take_stock_low(&map));
    /* Three units: two of the first run, one of the second. */
    CHECK(find(&map, EXTENT_FOR_WRITE, 0, 3 * UNIT, found) == 2);
    CHECK(found[0].fd_offset == 10 * UNIT && found[1].fd_offset == 50 * UNIT);
    CHECK(extent_map_take_stock_low(&map) && !extent_map_take_stock_low(&map));
    /* One is left of two. */
    CHECK(find(&map, EXTENT_FOR_WRITE, 8 * UNIT, 2 * UNIT, found) == 1);
    CHECK(found[0].length == UNIT);
    CHECK(!extent_map_take_stock_low(&map));
    CHECK(find(&map, EXTENT_FOR_WRITE, 9 * UNIT, UNIT, found) == 0);
    CHECK(extent_map_take_claims(&map, claims, 2) == 2);
    CHECK(claim_is(&claims[0], 0, 2 * UNIT, 10 * UNIT));
    CHECK(claim_is(&claims[1], 2 * UNIT, UNIT, 50 * UNIT));
    CHECK(extent_map_take_claims(&map, claims, 2) == 1);
    CHECK(claim_is(&claims[0], 8 * UNIT, UNIT, 51 * UNIT));
    extent_map_destroy(&map);
}

static void bad_stock_is_refused(void)
{
    struct extent_map map;
    extent_map_init(&map, no_wake);
    CHECK(extent_map_add_stock(&map, -1, UNIT, 0, UNIT) == -EINVAL);
    CHECK(extent_map_add_stock(&map, FD, 256, 0, UNIT) == -EINVAL);
    CHECK(extent_map_add_stock(&map, FD, 3 * 512, 0, 3 * 512) == -EINVAL);
    CHECK(extent_map_add_stock(&map, FD, UNIT, 512, UNIT) == -EINVAL);
    CHECK(extent_map_add_stock(&map, FD, UNIT, 0, 512) == -EINVAL);
    CHECK(extent_map_add_stock(&map, FD, UNIT, 0, 0) == -EINVAL);
    CHECK(extent_map_add_stock(&map, FD, UNIT, UINT64_MAX - UNIT + 1, UNIT) == -EINVAL);
    CHECK(extent_map_add_stock(&map, FD, UNIT, 0, UNIT) == 0);
    CHECK(extent_map_add_stock(&map, FD + 1, UNIT, UNIT, UNIT) == -EINVAL);
    CHECK(extent_map_add_stock(&map, FD, 2 * UNIT, 2 * UNIT, 2 * UNIT) == -EINVAL);
    extent_map_destroy(&map);
}

#define THREADS 4u
#define UNITS 512u

struct writer {
    struct extent_map *map;
    uint64_t places[UNITS];
};

static void *write_everywhere(void *argument)
{
    struct writer *writer = argument;
    for (unsigned unit = 0; unit < UNITS; unit++) {
        struct extent found[FOUND_MAX];
        unsigned count = find(writer->map, EXTENT_FOR_WRITE, (uint64_t)unit * UNIT, UNIT, found);
        writer->places[unit] = count == 1 ? found[0].fd_offset : UINT64_MAX;
    }
    return NULL;
}

/* Whoever comes first claims; all others find the same place. */
static void many_threads_claim_each_unit_once(void)
{
    struct extent_map map;
    static struct writer writers[THREADS];
    pthread_t threads[THREADS];
    extent_map_init(&map, no_wake);
    zeroes_push(&map, 0, (uint64_t)UNITS * UNIT, 0);
    CHECK(extent_map_add_stock(&map, FD, UNIT, 0, (uint64_t)UNITS * UNIT) == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i].map = &map;
        CHECK(pthread_create(&threads[i], NULL, write_everywhere, &writers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 1; i < THREADS; i++)
        CHECK(memcmp(writers[i].places, writers[0].places, sizeof writers[0].places) == 0);
    uint64_t claimed = 0;
    struct claim claim;
    while (extent_map_take_claims(&map, &claim, 1) == 1)
        claimed += claim.length;
    CHECK(claimed == (uint64_t)UNITS * UNIT);
    extent_map_destroy(&map);
}

int main(void)
{
    a_write_to_zeroes_gets_whole_units();
    only_whole_units_of_zeroes_that_may_be_written_are_claimed();
    nothing_is_claimed_while_it_is_not_allowed();
    runs_are_used_one_after_the_other_and_the_owner_is_told_once();
    bad_stock_is_refused();
    many_threads_claim_each_unit_once();
    return check_finish();
}
