/*
 * The structures of a disk, its sessions and their requests. The functions are in disk.h,
 * disk_request.h and disk_script.h.
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

/*
 * A request advances in rounds of at most this many concurrent pieces (extents, or files to sync).
 */
#define DISK_PIECES_MAX 8

struct disk_request;
struct disk_session;

/* Methods of zeroing a range. Each is tried if the host does not support the previous one. */
enum disk_zero_way {
    ZERO_BY_PUNCH_HOLE,
    ZERO_BY_ZERO_RANGE,
    ZERO_BY_WRITE,
};

/* A part of a request: I/O on one extent, or the sync of one file. */
struct disk_piece {
    struct io_op io;
    struct disk_request *request;
    enum disk_zero_way way;
    uint64_t zero_end;      /* for ZERO_BY_WRITE: end of the range in the file */
    struct iovec *zero_iov; /* for ZERO_BY_WRITE, or NULL */
};

struct disk_request {
    /* Set by the submitter. Unchanged until `done`, except for the entries of `buffers`. */
    enum disk_op op;
    bool may_unmap;  /* for DISK_WRITE_ZEROES: the range may be deallocated */
    bool stable;     /* complete only when the data is on stable storage */
    uint64_t offset; /* bytes, a multiple of 512 */
    uint64_t length;
    struct iov_span buffers; /* for reads and writes, `length` bytes */
    void (*done)(struct disk_request *request,
                 int error); /* 0 or -errno, on the session's thread */

    /* The disk's. */
    struct disk_session *session;
    enum disk_op step;  /* op; then DISK_FLUSH for a write that must be stable */
    uint64_t progress;  /* bytes done or in flight; for a flush, the next file descriptor */
    unsigned in_flight; /* pieces of this round in flight */
    int error;          /* the first error of the step */
    struct extent_use use;
    struct iovec *room; /* for the pieces' buffers, or NULL */
    struct disk_piece pieces[DISK_PIECES_MAX];
    struct disk_request *next; /* in a list of the disk or the session */
    uint64_t script_id;
    bool retry; /* the script's answer: look up the extents again */
};

/*
 * Bits of disk.scripted: operations that always go to the script, even if extents could serve them.
 */
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
    uint64_t size; /* bytes */
    bool read_only;
    unsigned scripted; /* enum disk_scripted; atomic */
    struct wake wake;  /* on script requests, a low stock, or a failed host call */
    uint32_t failure; /* last failure not yet taken by the script: op << 16 | errno, or 0; atomic */

    pthread_mutex_t lock;             /* protects the fields below and the sessions' `answered` */
    struct disk_request_list arrived; /* not yet taken by the script */
    struct disk_request_list taken;
    uint64_t next_script_id;
};

/* A thread's use of a disk. */
struct disk_session {
    struct disk *disk;
    struct io_engine *engine;
    struct event_loop *loop;           /* woken when the script has answered */
    struct disk_request_list asking;   /* for the script, passed in the next exchange */
    struct disk_request_list answered; /* under the disk's lock */
    counter script_requests;
    unsigned unanswered; /* requests passed, or to be passed, to the script */
};

#endif
