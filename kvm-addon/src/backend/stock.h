/*
 * A stock of free file space that is not yet part of the disk. The disk's owner (JavaScript) adds
 * to it. The first write to an unallocated part of the disk claims space from it, instead of
 * waiting for the owner. The owner later takes the claims, in order, and records them in the image.
 *
 * Protected by the extent map's lock.
 */
#ifndef TSVM_STOCK_H
#define TSVM_STOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A range of the disk and its allocated range in the file. Bytes, multiples of the unit. */
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
    uint64_t unit; /* granularity of claims, bytes, a power of two; 0 before the first addition */
    int fd;
    struct stock_run *runs; /* not yet claimed, oldest first */
    size_t run_count;
    uint64_t bytes;       /* total size of the runs */
    uint64_t low;         /* low-water mark: ask for more at or below it, bytes */
    struct claim *claims; /* not yet taken, oldest first; capacity: one per unit in `bytes` */
    size_t claim_count;
    bool claiming_off; /* claims are suspended */
};

void stock_destroy(struct stock *stock);

/*
 * Adds [fd_offset, fd_offset + length) of a file, which must read as zeroes. Unit and file must be
 * the same in all calls. Returns 0, -EINVAL or -ENOMEM.
 */
int stock_add(struct stock *stock, int fd, uint64_t unit, uint64_t fd_offset, uint64_t length);

/*
 * Finds space for [claim->offset, claim->offset + claim->length), whole units. If there is space
 * only for its first part, shortens claim->length. Returns false if there is none.
 */
bool stock_find(const struct stock *stock, struct claim *claim);

/* Claims the space found by stock_find(). Returns true if the stock reaches its low-water mark. */
bool stock_claim(struct stock *stock, const struct claim *claim);

/* Takes up to `max` claims, oldest first. Returns their number. */
size_t stock_take_claims(struct stock *stock, struct claim *claims, size_t max);

#endif
