/*
 * Space in a file that has no place on the disk yet. The owner of a disk (JavaScript) lays it in;
 * the first write to a part of the disk that reads as zeroes claims some of it, so that such a
 * write waits for nobody. The owner takes the claims later, in their order, and makes them known to
 * whatever it keeps of the disk.
 *
 * All of it is protected by the extent map's lock.
 */
#ifndef TSVM_SPARE_SPACE_H
#define TSVM_SPARE_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of the disk, and the place that it got. Bytes, multiples of the unit. */
struct claim {
    uint64_t offset;
    uint64_t length;
    uint64_t fd_offset;
};

struct spare_run {
    uint64_t fd_offset;
    uint64_t length;
};

struct spare_space {
    uint64_t unit; /* what is claimed at once, bytes, a power of two; 0 before any was laid in */
    int fd;
    struct spare_run *runs; /* those not used up, oldest first */
    size_t run_count;
    uint64_t bytes;       /* of all runs */
    uint64_t low;         /* so few bytes are few */
    struct claim *claims; /* those not taken, oldest first; room for one a unit of `bytes` more */
    size_t claim_count;
    bool held; /* nothing may be claimed now */
};

void spare_space_destroy(struct spare_space *spare);

/*
 * Lays in [fd_offset, fd_offset + length) of a file, which reads as zeroes. Unit and file are the
 * same every time. Returns 0, -EINVAL or -ENOMEM.
 */
int spare_space_add(struct spare_space *spare, int fd, uint64_t unit, uint64_t fd_offset,
                    uint64_t length);

/*
 * Finds a place for [claim->offset, claim->offset + claim->length), whole units, or for its first
 * part, which becomes the claim's length. False: there is none.
 */
bool spare_space_find(const struct spare_space *spare, struct claim *claim);

/* Claims what was found. Returns whether little is left now, and was not before. */
bool spare_space_claim(struct spare_space *spare, const struct claim *claim);

/* Takes the oldest claims, at most `max`. Returns their number. */
size_t spare_space_take_claims(struct spare_space *spare, struct claim *claims, size_t max);

#endif
