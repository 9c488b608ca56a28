/* The extent map against a flat array that says for each sector where it is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/backend/extent_map.h"
#include "../check.h"

#define SECTORS 256u
#define FOUND_MAX 16u

static struct wake no_wake;

static struct extent extent_of(uint64_t sector, uint64_t sectors, int fd, uint64_t fd_sector,
                               uint32_t flags)
{
    return (struct extent){.offset = sector * 512,
                           .length = sectors * 512,
                           .fd = fd,
                           .fd_offset = fd_sector * 512,
                           .flags = flags};
}

static unsigned find(struct extent_map *map, enum extent_access access, uint64_t sector,
                     uint64_t sectors, struct extent *found)
{
    struct extent_use use;
    unsigned count =
        extent_map_acquire(map, &use, access, sector * 512, sectors * 512, found, FOUND_MAX);
    if (count > 0)
        extent_map_release(map, &use);
    return count;
}

static void raw_disk_is_one_extent(void)
{
    struct extent_map map;
    extent_map_init(&map, no_wake);
    struct extent whole = extent_of(0, 1u << 30, 3, 0, 0), found[FOUND_MAX];
    CHECK(extent_map_push(&map, &whole, 1) == 0);
    CHECK(find(&map, EXTENT_FOR_WRITE, 1000, 8, found) == 1);
    CHECK(found[0].fd == 3 && found[0].fd_offset == 512000 && found[0].length == 4096);
    CHECK(find(&map, EXTENT_FOR_READ, (1u << 30) - 1, 2, found) == 1 && found[0].length == 512);
    CHECK(find(&map, EXTENT_FOR_READ, 1u << 30, 1, found) == 0);
    extent_map_destroy(&map);
}

static void bad_extents_are_refused(void)
{
    struct extent_map map;
    extent_map_init(&map, no_wake);
    const struct extent bad[] = {
        extent_of(0, 0, 3, 0, 0),
        extent_of(0, 1, -1, 0, 0),
        {.offset = 1, .length = 512, .fd = 3},
        {.offset = 0, .length = 511, .fd = 3},
        {.offset = UINT64_MAX - 511, .length = 1024, .fd = 3},
        {.offset = 0, .length = 512, .fd = 3, .fd_offset = UINT64_MAX},
        {.offset = 0, .length = 512, .fd = 3, .fd_offset = INT64_MAX},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct extent both[] = {extent_of(0, 1, 3, 0, 0), bad[i]};
        CHECK(extent_map_push(&map, both, 2) == -EINVAL);
        CHECK(map.count == 0);
    }
    extent_map_destroy(&map);
}

static void access_stops_at_what_it_must_not_touch(void)
{
    struct extent_map map;
    extent_map_init(&map, no_wake);
    struct extent found[FOUND_MAX];
    const struct extent extents[] = {extent_of(0, 4, 3, 0, 0), extent_of(4, 4, 0, 0, EXTENT_ZERO),
                                     extent_of(8, 4, 4, 0, EXTENT_READ_ONLY)};
    CHECK(extent_map_push(&map, extents, 3) == 0);
    CHECK(find(&map, EXTENT_FOR_READ, 0, 16, found) == 3);
    CHECK(find(&map, EXTENT_FOR_DISCARD, 0, 16, found) == 2);
    CHECK(find(&map, EXTENT_FOR_WRITE, 0, 16, found) == 1);
    CHECK(find(&map, EXTENT_FOR_WRITE, 4, 1, found) == 0);
    CHECK(find(&map, EXTENT_FOR_DISCARD, 8, 1, found) == 0);
    extent_map_destroy(&map);
}

static void neighbours_are_joined(void)
{
    struct extent_map map;
    extent_map_init(&map, no_wake);
    const struct extent extents[] = {
        extent_of(0, 4, 3, 100, 0),
        extent_of(8, 4, 3, 108, 0),
        extent_of(4, 4, 3, 104, 0),                 /* between both */
        extent_of(12, 4, 3, 112, EXTENT_READ_ONLY), /* differs */
        extent_of(16, 4, 3, 200, EXTENT_READ_ONLY), /* is elsewhere */
        extent_of(20, 4, 1, 7, EXTENT_ZERO),
        extent_of(24, 4, 2, 8, EXTENT_ZERO), /* zeroes are all alike */
    };
    CHECK(extent_map_push(&map, extents, 7) == 0);
    CHECK(map.count == 4);
    CHECK(map.file_count == 1 && map.files[0].extents == 1);
    extent_map_destroy(&map);
}

static void withdrawal_waits_for_older_uses_only(void)
{
    struct extent_map map;
    extent_map_init(&map, no_wake);
    struct extent whole = extent_of(0, 64, 3, 0, 0), found[FOUND_MAX];
    struct extent_use older, newer;
    CHECK(extent_map_push(&map, &whole, 1) == 0);
    CHECK(extent_map_is_quiet(&map, extent_map_withdraw(&map, 512, 512)));
    CHECK(extent_map_acquire(&map, &older, EXTENT_FOR_READ, 0, 512, found, 1) == 1);
    uint64_t first = extent_map_withdraw(&map, 0, 512);
    CHECK(!extent_map_is_quiet(&map, first));
    CHECK(extent_map_acquire(&map, &newer, EXTENT_FOR_READ, 0, 512, found, 1) == 0);
    CHECK(extent_map_acquire(&map, &newer, EXTENT_FOR_READ, 1024, 512, found, 1) == 1);
    uint64_t second = extent_map_withdraw(&map, 1024, 512);
    extent_map_release(&map, &older);
    CHECK(extent_map_is_quiet(&map, first));
    CHECK(!extent_map_is_quiet(&map, second));
    extent_map_release(&map, &newer);
    CHECK(extent_map_is_quiet(&map, second));
    extent_map_destroy(&map);
}

static void count_call(void *context)
{
    ++*(unsigned *)context;
}

static void owner_is_told_when_a_withdrawal_is_quiet(void)
{
    struct extent_map map;
    unsigned calls = 0;
    extent_map_init(&map, (struct wake){.notify = count_call, .context = &calls});
    struct extent whole = extent_of(0, 64, 3, 0, 0), found[FOUND_MAX];
    struct extent_use uses[3];
    extent_map_push(&map, &whole, 1);
    for (unsigned i = 0; i < 2; i++)
        extent_map_acquire(&map, &uses[i], EXTENT_FOR_READ, 0, 512, found, 1);
    uint64_t ticket = extent_map_withdraw(&map, 0, 512);
    extent_map_acquire(&map, &uses[2], EXTENT_FOR_READ, 512, 512, found, 1);
    extent_map_release(&map, &uses[1]);
    CHECK(calls == 0);
    extent_map_release(&map, &uses[0]);
    CHECK(calls == 1 && extent_map_is_quiet(&map, ticket));
    extent_map_release(&map, &uses[2]);
    CHECK(calls == 1); /* nobody waits for that one */
    extent_map_destroy(&map);
}

static void files_to_sync(void)
{
    struct extent_map map;
    extent_map_init(&map, no_wake);
    const struct extent extents[] = {extent_of(0, 4, 9, 0, 0), extent_of(4, 4, 5, 0, 0),
                                     extent_of(8, 4, 7, 0, EXTENT_READ_ONLY),
                                     extent_of(12, 4, 2, 0, EXTENT_ZERO)};
    struct extent found[FOUND_MAX];
    struct extent_use use;
    int fds[4];
    extent_map_push(&map, extents, 4);
    CHECK(extent_map_acquire_files(&map, &use, 0, fds, 4) == 2 && fds[0] == 5 && fds[1] == 9);
    extent_map_release(&map, &use);
    CHECK(extent_map_acquire_files(&map, &use, 6, fds, 4) == 1 && fds[0] == 9);
    extent_map_release(&map, &use);
    /* One that was written to stays when its last extent goes; one that was not does not. */
    CHECK(find(&map, EXTENT_FOR_WRITE, 0, 1, found) == 1);
    extent_map_withdraw(&map, 0, 8 * 512);
    CHECK(extent_map_acquire_files(&map, &use, 0, fds, 4) == 1 && fds[0] == 9);
    extent_map_release(&map, &use);
    extent_map_destroy(&map);
}

/* Where a sector is, in the model. */
struct place {
    bool there;
    int fd;
    uint64_t fd_sector;
    uint32_t flags;
};

static bool agrees(struct extent_map *map, const struct place *model)
{
    struct extent found[FOUND_MAX];
    for (uint64_t sector = 0; sector < SECTORS;) {
        unsigned count = find(map, EXTENT_FOR_READ, sector, SECTORS - sector, found);
        if (count == 0 && model[sector].there)
            return false;
        sector += count == 0;
        for (unsigned i = 0; i < count; i++) {
            for (uint64_t j = 0; j < found[i].length / 512; j++, sector++) {
                const struct place *place = &model[sector];
                if (!place->there || place->flags != found[i].flags)
                    return false;
                bool zero = place->flags & EXTENT_ZERO;
                if (!zero &&
                    (place->fd != found[i].fd || place->fd_sector != found[i].fd_offset / 512 + j))
                    return false;
            }
        }
    }
    return true;
}

static void random_changes_agree_with_the_model(void)
{
    struct extent_map map;
    struct place model[SECTORS] = {0};
    extent_map_init(&map, no_wake);
    srandom(1);
    unsigned bad = 0;
    for (unsigned round = 0; round < 20000; round++) {
        uint64_t sector = (uint64_t)random() % SECTORS;
        uint64_t sectors = 1 + (uint64_t)random() % (SECTORS - sector) % 40;
        bool push = random() % 3 != 0;
        int fd = 3 + (int)(random() % 2);
        uint32_t flags = (uint32_t)random() % 3;
        /* Half of them continue what may be there. */
        uint64_t fd_sector = random() % 2 ? sector : (uint64_t)random() % 1000;
        struct extent extent = extent_of(sector, sectors, fd, fd_sector, flags);
        if (push)
            extent_map_push(&map, &extent, 1);
        else
            extent_map_withdraw(&map, sector * 512, sectors * 512);
        for (uint64_t i = 0; i < sectors; i++)
            model[sector + i] =
                (struct place){.there = push, .fd = fd, .fd_sector = fd_sector + i, .flags = flags};
        bad += round % 16 == 0 && !agrees(&map, model);
    }
    CHECK(bad == 0);
    extent_map_withdraw(&map, 0, UINT64_MAX);
    CHECK(map.count == 0 && map.file_count == 0);
    extent_map_destroy(&map);
}

int main(void)
{
    raw_disk_is_one_extent();
    bad_extents_are_refused();
    access_stops_at_what_it_must_not_touch();
    neighbours_are_joined();
    withdrawal_waits_for_older_uses_only();
    owner_is_told_when_a_withdrawal_is_quiet();
    files_to_sync();
    random_changes_agree_with_the_model();
    return check_finish();
}
