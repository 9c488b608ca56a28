/*
 * The structures of a disk, of the sessions that submit requests to it, and of the requests. What
 * each part of it does is in disk.h, disk_request.h and disk_script.h.
 */
#ifndef TSVM_DISK_TYPES_H
#define TSVM_DISK_TYPES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../util/counter.h"
#include "../util/event_loop.h"
#include "../util/iov.h"
#include "../util/wake.h"
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

/* Which operations go to the script first, whatever the extents: bits of disk.scripted. */
enum disk_scripted {
    DISK_SCRIPTED_FLUSH = 1,
    DISK_SCRIPTED_DISCARD = 2,
    DISK_SCRIPTED_WRITE_ZEROES = 4,
};

struct disk_request_list {
    struct disk_request *first;
    struct disk_request *last;
};

struct disk {
    struct extent_map extents;
    uint64_t size; /* bytes; atomic */
    bool read_only;
    unsigned scripted; /* enum disk_scripted; atomic */
    struct wake wake;  /* script requests have arrived, the stock is low, or a call has failed */
    uint32_t failure;  /* the last that the script has not taken: op << 16 | errno, or 0; atomic */

    pthread_mutex_t lock;             /* protects all below and the sessions' `answered` */
    struct disk_request_list arrived; /* the script has not taken them yet */
    struct disk_request_list taken;
    uint64_t next_script_id;
};

/* One thread's way to a disk. */
struct disk_session {
    struct disk *disk;
    struct io_engine *engine;
    struct event_loop *loop;           /* woken when the script has answered */
    struct disk_request_list asking;   /* for the script, told in the next exchange */
    struct disk_request_list answered; /* under the disk's lock */
    counter script_requests;
    unsigned unanswered; /* requests that the script has, or will be told of */
};

#endif
