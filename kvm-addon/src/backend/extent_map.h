/*
 * A map of the extents of a disk: guest offset -> host file and offset. The owner (JavaScript)
 * pushes and withdraws extents while queue workers look them up and use them.
 *
 * A use lasts from extent_map_acquire to extent_map_release. A withdrawal returns a ticket at once.
 * The ticket is quiet when all uses that began before it have ended; from then on no I/O in flight
 * uses the withdrawn extents.
 *
 * One lock protects everything. A look-up holds it for a tree walk, which takes little time
 * compared with the I/O. For a raw disk there is not even a walk, because the last extent is tried
 * first.
 */
#ifndef TSVM_EXTENT_MAP_H
#define TSVM_EXTENT_MAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../util/wake.h"
#include "stock.h"

/* Offsets and lengths are multiples of this, bytes. */
#define EXTENT_ALIGN 512u

enum extent_flags {
    EXTENT_ZERO = 1,      /* reads as zeroes; fd and fd_offset are unused */
    EXTENT_READ_ONLY = 2, /* does not serve writes and claims nothing from the stock */
};

struct extent {
    uint64_t offset; /* in the guest's disk, bytes */
    uint64_t length; /* bytes, not 0 */
    uint64_t fd_offset;
    int fd;
    uint32_t flags; /* enum extent_flags */
};

/* A use of extents, from acquire to release. */
struct extent_use {
    struct extent_use *previous;
    struct extent_use *next;
    uint64_t generation;
};

/* A file with writable extents, which a flush must sync. */
struct extent_file {
    int fd;
    bool written;     /* since it was added */
    uint64_t extents; /* number of writable extents */
};

struct extent_map {
    pthread_mutex_t lock;
    void *tree;          /* of struct extent, for tsearch(3) */
    struct extent *last; /* result of the last look-up, or NULL */
    size_t count;
    struct extent_file *files; /* ascending by fd */
    unsigned file_count;
    struct extent_use uses; /* head of the active uses, oldest first */
    uint64_t generation;    /* of new uses; each withdrawal starts a new one */
    uint64_t awaited;       /* the newest generation that was not quiet at its withdrawal */
    struct wake quiet;      /* notified when a generation up to `awaited` becomes quiet */
    struct stock stock;
    bool stock_is_low; /* and the owner does not know yet; atomic */
};

/* The kind of access that an extent must support. */
enum extent_access {
    EXTENT_FOR_READ,
    EXTENT_FOR_WRITE,   /* neither read-only nor zero; a zero extent may claim space */
    EXTENT_FOR_DISCARD, /* not read-only */
};

void extent_map_init(struct extent_map *map, struct wake quiet);
/* No use may be active. */
void extent_map_destroy(struct extent_map *map);

/*
 * Adds extents. Each replaces what it overlaps and is merged with contiguous neighbours. Returns 0,
 * -EINVAL (nothing changed), or -ENOMEM (some were not added, but what they overlap was removed).
 */
int extent_map_push(struct extent_map *map, const struct extent *extents, size_t count);

/*
 * Removes a range from the map and returns a ticket to wait for. Never fails: when there is no
 * memory to split an extent, more than the range is withdrawn.
 */
uint64_t extent_map_withdraw(struct extent_map *map, uint64_t offset, uint64_t length);

/* Whether all uses of the withdrawn extents have ended. */
bool extent_map_is_quiet(struct extent_map *map, uint64_t ticket);

/*
 * Finds up to `max` contiguous extents from `offset`, up to the first gap or offset + length, in
 * order and trimmed to the range. Returns their number. If it is not 0, the use has begun.
 */
unsigned extent_map_acquire(struct extent_map *map, struct extent_use *use,
                            enum extent_access access, uint64_t offset, uint64_t length,
                            struct extent *found, unsigned max);

/*
 * As extent_map_acquire, for up to `max` files with descriptors >= `from` that a flush must sync.
 */
unsigned extent_map_acquire_files(struct extent_map *map, struct extent_use *use, int from,
                                  int *fds, unsigned max);

void extent_map_release(struct extent_map *map, struct extent_use *use);

/*
 * Adds space to the stock, from which writes to zero extents that are not read-only claim space.
 * See stock_add.
 */
int extent_map_add_stock(struct extent_map *map, int fd, uint64_t unit, uint64_t fd_offset,
                         uint64_t length);

/*
 * With claiming off, a push cannot overwrite a claim the owner has not seen; writes that would
 * claim find a gap instead.
 */
void extent_map_set_claiming(struct extent_map *map, bool allowed);

/* Takes up to `max` claims, oldest first. Returns their number. */
size_t extent_map_take_claims(struct extent_map *map, struct claim *claims, size_t max);

/* Whether there are claims that the owner has not taken. */
bool extent_map_has_claims(struct extent_map *map);

/* Returns true once each time the stock reaches its low-water mark. */
bool extent_map_take_stock_low(struct extent_map *map);

#endif
