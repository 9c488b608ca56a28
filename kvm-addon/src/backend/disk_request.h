/* One request to a disk: what it asks, and how far it is. */
#ifndef TSVM_DISK_REQUEST_H
#define TSVM_DISK_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../util/iov.h"
#include "extent_map.h"
#include "io_engine.h"

enum disk_op {
    DISK_READ,
    DISK_WRITE,
    DISK_FLUSH,
    DISK_DISCARD,
    DISK_WRITE_ZEROES,
};

/* A request advances in rounds: so many pieces (extents it runs over, files to sync) at once. */
#define DISK_PIECES_MAX 8

struct disk_request;
struct disk_session;

/* How a range is zeroed: each way is tried where the host cannot do the one before. */
enum disk_zero_way {
    ZERO_BY_PUNCH_HOLE,
    ZERO_BY_ZERO_RANGE,
    ZERO_BY_WRITE,
};

/* A part of a request: on one extent, or of one file. */
struct disk_piece {
    struct io_op io;
    struct disk_request *request;
    enum disk_zero_way way;
    uint64_t zero_end;      /* of ZERO_BY_WRITE: where the range ends in the file */
    struct iovec *zero_iov; /* of ZERO_BY_WRITE, or NULL */
};

struct disk_request {
    /* The submitter's; unchanged until `done` except for the entries of `buffers`. */
    enum disk_op op;
    bool may_unmap;  /* of DISK_WRITE_ZEROES: the range may be deallocated */
    bool stable;     /* complete only when what was written is on stable storage */
    uint64_t offset; /* bytes, a multiple of 512 */
    uint64_t length;
    struct iov_span buffers; /* of reads and writes, `length` bytes */
    void (*done)(struct disk_request *request,
                 int error); /* 0 or -errno, on the session's thread */

    /* The disk's. */
    struct disk_session *session;
    enum disk_op step;  /* op; then DISK_FLUSH for a write that must be stable */
    uint64_t progress;  /* bytes done or in flight; of a flush, the next file descriptor */
    unsigned in_flight; /* pieces of this round */
    int error;          /* the first error of the step */
    struct extent_use use;
    struct iovec *room; /* for the pieces' buffers, or NULL */
    struct disk_piece pieces[DISK_PIECES_MAX];
    struct disk_request *next; /* in a list of the disk or the session */
    uint64_t script_id;
    bool retry; /* the script's answer: look again */
};

/* Begins a request. `session` and what is the submitter's are set. */
void disk_request_begin(struct disk_request *request);

/* Goes on with a request of which nothing is in flight. */
void disk_request_advance(struct disk_request *request);

/* Ends the current step of a request of which nothing is in flight, with 0 or -errno. */
void disk_request_finish(struct disk_request *request, int error);

#endif
