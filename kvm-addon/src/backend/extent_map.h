/*
 * A disk as a map of extents: guest offset -> host file and offset. The owner (JavaScript) pushes
 * and withdraws extents while queue workers look them up and use them.
 *
 * A look-up and its use stand between extent_map_acquire and extent_map_release. A withdrawal
 * returns at once with a ticket; the ticket is quiet when all uses that began before it are over,
 * and so nothing in flight can touch what was withdrawn.
 *
 * One lock protects all. It is held for a tree walk, a small part of what the I/O itself takes, and
 * the fast path of a raw disk does not even walk: the extent hit last is tried first.
 */
#ifndef TSVM_EXTENT_MAP_H
#define TSVM_EXTENT_MAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../util/wake.h"
#include "stock.h"

/* Offsets and lengths are multiples of it. */
#define EXTENT_ALIGN 512u

enum extent_flags {
    EXTENT_ZERO = 1,      /* reads give zeroes; fd and fd_offset mean nothing */
    EXTENT_READ_ONLY = 2, /* writes are not served from here and claim nothing from the stock */
};

struct extent {
    uint64_t offset; /* in the guest's disk, bytes */
    uint64_t length; /* bytes, not 0 */
    uint64_t fd_offset;
    int fd;
    uint32_t flags; /* enum extent_flags */
};

/* One use of extents, from acquire to release. */
struct extent_use {
    struct extent_use *previous;
    struct extent_use *next;
    uint64_t generation;
};

/* A file that a flush must sync. */
struct extent_file {
    int fd;
    bool written;     /* since it became known here */
    uint64_t extents; /* number of writable extents in it */
};

struct extent_map {
    pthread_mutex_t lock;
    void *tree;          /* of struct extent, for tsearch(3) */
    struct extent *last; /* the extent hit last, or NULL */
    size_t count;
    struct extent_file *files; /* ascending by fd */
    unsigned file_count;
    struct extent_use uses; /* head of the uses under way, oldest first */
    uint64_t generation;    /* of new uses; a withdrawal starts the next */
    uint64_t awaited;       /* the newest generation that was not quiet when it was withdrawn */
    struct wake quiet;      /* told when a generation up to `awaited` has become quiet */
    struct stock stock;
    bool stock_is_low; /* and the owner was not told yet; atomic */
};

/* What a use needs of an extent. */
enum extent_access {
    EXTENT_FOR_READ,
    EXTENT_FOR_WRITE,   /* a file to write to: neither read-only nor zero; zeroes may claim */
    EXTENT_FOR_DISCARD, /* not read-only */
};

void extent_map_init(struct extent_map *map, struct wake quiet);
/* No use may be under way. */
void extent_map_destroy(struct extent_map *map);

/*
 * Adds extents; each replaces what it overlaps, and joins neighbours that it continues. Returns 0,
 * -EINVAL (nothing was changed), or -ENOMEM (some were not added, and what they replace is gone).
 */
int extent_map_push(struct extent_map *map, const struct extent *extents, size_t count);

/*
 * Takes a range out of the map and returns the ticket to wait for. Never fails: should memory for
 * the rest of a split extent be lacking, more is withdrawn than was asked for.
 */
uint64_t extent_map_withdraw(struct extent_map *map, uint64_t offset, uint64_t length);

/* Whether nothing in flight uses what the ticket's withdrawal took out. */
bool extent_map_is_quiet(struct extent_map *map, uint64_t ticket);

/* Flushes sync the file no more. Returns 0 or -EBUSY: it has writable extents. */
int extent_map_forget_file(struct extent_map *map, int fd);

/*
 * Finds what serves [offset, offset + length): up to `max` extents, cut to the range, adjoining
 * and in order, up to the first gap. Returns their number. When it is not 0 the use has begun.
 */
unsigned extent_map_acquire(struct extent_map *map, struct extent_use *use,
                            enum extent_access access, uint64_t offset, uint64_t length,
                            struct extent *found, unsigned max);

/* Finds up to `max` files that a flush must sync, from descriptor `from` on, likewise. */
unsigned extent_map_acquire_files(struct extent_map *map, struct extent_use *use, int from,
                                  int *fds, unsigned max);

void extent_map_release(struct extent_map *map, struct extent_use *use);

/*
 * Adds to the stock, from which writes to zero extents that are not read-only claim space. See
 * stock_add.
 */
int extent_map_add_stock(struct extent_map *map, int fd, uint64_t unit, uint64_t fd_offset,
                         uint64_t length);

/*
 * With claiming off, a push cannot overwrite a claim the owner has not seen; writes that would
 * claim find a gap instead.
 */
void extent_map_set_claiming(struct extent_map *map, bool allowed);

/* Takes the oldest claims, at most `max`. Returns their number. */
size_t extent_map_take_claims(struct extent_map *map, struct claim *claims, size_t max);

/* True while there are claims that the owner has not taken. */
bool extent_map_has_claims(struct extent_map *map);

/* True once for each time that the stock has reached its low-water mark. */
bool extent_map_take_stock_low(struct extent_map *map);

#endif
