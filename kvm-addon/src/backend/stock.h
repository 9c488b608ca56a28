/*
 * A stock of free file space that is not part of the disk yet. The disk's owner (JavaScript) adds
 * to it; the first write to a part of the disk that reads as zeroes claims space from it, so that
 * such a write does not wait for the owner. The owner takes the claims later, in order, and records
 * them in the image.
 *
 * Protected by the extent map's lock.
 */
#ifndef TSVM_STOCK_H
#define TSVM_STOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of the disk and its new place in the file. Bytes, multiples of the unit. */
struct claim {
    uint64_t offset;
    uint64_t length;
    uint64_t fd_offset;
};

struct stock_run {
    uint64_t fd_offset;
    uint64_t length;
};

struct stock {
    uint64_t unit; /* of claims, bytes, a power of two; 0 while nothing was added */
    int fd;
    struct stock_run *runs; /* not yet claimed, oldest first */
    size_t run_count;
    uint64_t bytes;       /* of all runs */
    uint64_t low;         /* low-water mark: ask for more at or below it, bytes */
    struct claim *claims; /* not taken yet, oldest first; has room for one per unit in `bytes` */
    size_t claim_count;
    bool claiming_off; /* claims are refused for now */
};

void stock_destroy(struct stock *stock);

/*
 * Adds [fd_offset, fd_offset + length) of a file, which must read as zeroes. Unit and file are the
 * same in every call. Returns 0, -EINVAL or -ENOMEM.
 */
int stock_add(struct stock *stock, int fd, uint64_t unit, uint64_t fd_offset, uint64_t length);

/*
 * Finds space for [claim->offset, claim->offset + claim->length), whole units, or for its first
 * part: claim->length is shortened to it. Returns false when there is none.
 */
bool stock_find(const struct stock *stock, struct claim *claim);

/* Claims what stock_find() found. Returns true when this brings the stock to its low-water mark. */
bool stock_claim(struct stock *stock, const struct claim *claim);

/* Takes the oldest claims, at most `max`. Returns their number. */
size_t stock_take_claims(struct stock *stock, struct claim *claims, size_t max);

#endif
