/*
 * The interface between a disk's sessions and its script. The script, on the JavaScript thread,
 * takes the requests that have arrived. For each it either pushes extents and retries the request,
 * or finishes it with an errno (and the data of a read).
 */
#ifndef TSVM_DISK_SCRIPT_H
#define TSVM_DISK_SCRIPT_H

#include <stddef.h>

#include "disk_types.h"

/* Functions for sessions, on their threads. */

/*
 * Whether an operation always goes to the script. A flush does while there are claims that the
 * script has not taken.
 */
bool disk_op_is_scripted(struct disk *disk, enum disk_op op);

/* Keeps a request for the script. None of its I/O may be in flight. */
void disk_session_ask(struct disk_session *session, struct disk_request *request);

/* Passes the kept requests of a session to the script with one wake-up. */
void disk_session_hand_over(struct disk_session *session);

/* Whether the script has answered requests of this session. */
bool disk_session_has_answers(struct disk_session *session);

/* Takes the answered requests, oldest first: a list by `next`, or NULL. */
struct disk_request *disk_session_take_answers(struct disk_session *session);

/* Records a failed host call that makes a request fail. */
void disk_note_failure(struct disk *disk, enum disk_op op, int error);

/* Functions for the script. */

/* Sets the operations that always go to the script: bits of enum disk_scripted. */
void disk_set_scripted(struct disk *disk, unsigned scripted);

/*
 * Takes the last failure of a host call. Returns its positive errno and stores the operation, or
 * returns 0 if there was none since the last call.
 */
int disk_take_failure(struct disk *disk, enum disk_op *op);

/* The script's view of a request. */
struct disk_script_request {
    uint64_t id; /* below 2^53 */
    enum disk_op op;
    bool may_unmap;
    uint64_t offset; /* the whole range; both 0 for a flush */
    uint64_t length;
    uint64_t gap_offset; /* the first byte that no extent can serve */
};

/* Takes the oldest arrived request. Returns false if there is none. */
bool disk_script_take(struct disk *disk, struct disk_script_request *taken);

/* Makes the session look up the extents again. Returns 0 or -EINVAL: no such request. */
int disk_script_retry(struct disk *disk, uint64_t id);

/*
 * Ends a request with 0 or -errno. `data` is the data of a successful read, of its full length;
 * otherwise NULL. Returns 0 or -EINVAL: no such request, or wrong length.
 */
int disk_script_finish(struct disk *disk, uint64_t id, int error, const void *data, size_t bytes);

/* Returns the data length of a write request, or -EINVAL: no such write request. */
int64_t disk_script_data_bytes(struct disk *disk, uint64_t id);

/* Copies the data of a write. Returns 0 or -EINVAL: no such write, or wrong length. */
int disk_script_copy_data(struct disk *disk, uint64_t id, void *data, size_t bytes);

#endif
