/*
 * What passes between a disk's sessions and its script. The script, on the JavaScript thread, takes
 * the requests that have arrived, then for each either pushes extents and retries, or finishes with
 * an errno (and a read's data).
 */
#ifndef TSVM_DISK_SCRIPT_H
#define TSVM_DISK_SCRIPT_H

#include <stddef.h>

#include "disk_types.h"

/* For sessions, on their threads. */

/*
 * Whether an operation goes to the script whatever the extents. A flush does while there are claims
 * that the script does not know of.
 */
bool disk_op_is_scripted(struct disk *disk, enum disk_op op);

/* Keeps a request, of which nothing is in flight, for the script. */
void disk_session_ask(struct disk_session *session, struct disk_request *request);

/* Hands the script what the session has kept for it, in one wake-up. */
void disk_session_hand_over(struct disk_session *session);

/* Whether the script has answered. */
bool disk_session_has_answers(struct disk_session *session);

/* Takes the answered requests, oldest first, a list by `next`; NULL when there are none. */
struct disk_request *disk_session_take_answers(struct disk_session *session);

/* A call of the host has failed for a request, which ends with an error. */
void disk_note_failure(struct disk *disk, enum disk_op op, int error);

/* For the script. */

/* Which operations come to it whatever the extents: bits of enum disk_scripted. */
void disk_set_scripted(struct disk *disk, unsigned scripted);

/*
 * Takes the last failure of the host's since this was asked. Returns its errno, positive, and what
 * was being done, or 0 when there was none.
 */
int disk_take_failure(struct disk *disk, enum disk_op *op);

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
