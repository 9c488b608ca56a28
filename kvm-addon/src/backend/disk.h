/*
 * A disk: its size, its extents, and the requests that a script (TypeScript) has to resolve.
 * Queue workers submit requests in sessions, one a thread. What the extents can serve, the session
 * does with its I/O engine; the rest goes to the script, and holds nothing else up.
 *
 * The script side, on the JavaScript thread: take the requests that have arrived, then for each
 * either push extents and retry, or finish with an errno (and a read's data).
 */
#ifndef TSVM_DISK_H
#define TSVM_DISK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../util/counter.h"
#include "../util/event_loop.h"
#include "../util/wake.h"
#include "disk_request.h"
#include "extent_map.h"
#include "io_engine.h"

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

/* `quiet`: a ticket of the extent map may have become quiet. `wake`: script requests arrived. */
void disk_init(struct disk *disk, uint64_t size, bool read_only, unsigned scripted,
               struct wake wake, struct wake quiet);
/* No session may exist. */
void disk_destroy(struct disk *disk);

void disk_set_size(struct disk *disk, uint64_t size);
void disk_set_scripted(struct disk *disk, unsigned scripted);

/* Bytes. */
static inline uint64_t disk_size(const struct disk *disk)
{
    return __atomic_load_n(&disk->size, __ATOMIC_RELAXED);
}

/* The session's counter goes on from one init to the next: zeroed before the first. */
void disk_session_init(struct disk_session *session, struct disk *disk, struct io_engine *engine,
                       struct event_loop *loop);

/* For disk_request.c: a call of the host has failed for a request, which ends with an error. */
void disk_note_failure(struct disk *disk, enum disk_op op, int error);

/*
 * Takes the last failure of the host's since this was asked. Returns its errno, positive, and what
 * was being done, or 0 when there was none.
 */
int disk_take_failure(struct disk *disk, enum disk_op *op);

/* Starts a request; `done` may be called before this returns. What it submits is not sent yet. */
void disk_submit(struct disk_session *session, struct disk_request *request);

/* Whether the script has answered. */
bool disk_session_has_answers(struct disk_session *session);

/*
 * Tells the script, in one wake-up, what the session has for it, and goes on with what it has
 * answered. Returns the number of answers. What this submits is not sent yet.
 */
unsigned disk_session_exchange(struct disk_session *session);

/*
 * For disk_request.c: whether an operation goes to the script whatever the extents. A flush does
 * while there are claims that the script does not know of.
 */
bool disk_op_is_scripted(struct disk *disk, enum disk_op op);
/* For disk_request.c: sends a request, of which nothing is in flight, to the script. */
void disk_session_ask(struct disk_session *session, struct disk_request *request);

/* A script request, as the script sees it. */
struct disk_script_request {
    uint64_t id; /* below 2^53 */
    enum disk_op op;
    bool may_unmap;
    uint64_t offset; /* the whole range; both 0 for a flush */
    uint64_t length;
    uint64_t gap_offset; /* the first byte that no extent serves */
};

/* Takes the oldest request that has arrived; false when there is none. */
bool disk_script_take(struct disk *disk, struct disk_script_request *taken);

/* Lets the extents be looked up again. Returns 0 or -EINVAL: no such request. */
int disk_script_retry(struct disk *disk, uint64_t id);

/*
 * Ends a request with 0 or -errno. `data`, NULL for all else, is what a successful read gives: its
 * whole length. Returns 0 or -EINVAL: no such request, or data of another length.
 */
int disk_script_finish(struct disk *disk, uint64_t id, int error, const void *data, size_t bytes);

/* Length of a request's data, or -EINVAL when there is no such write request. */
int64_t disk_script_data_bytes(struct disk *disk, uint64_t id);

/* Copies the data of a write. Returns 0 or -EINVAL: no such write, or another length. */
int disk_script_copy_data(struct disk *disk, uint64_t id, void *data, size_t bytes);

#endif
