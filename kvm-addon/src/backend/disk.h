/*
 * A disk: its size, its extents, and the requests that the script (TypeScript) has to resolve.
 * Queue workers submit requests in sessions, one per thread. A session serves requests from extents
 * with its I/O engine and passes the others to the script, without blocking.
 *
 * The script's side is disk_script.h.
 */
#ifndef TSVM_DISK_H
#define TSVM_DISK_H

#include "disk_script.h"
#include "disk_types.h"

/* `quiet` notifies that a ticket of the extent map may be quiet; `wake` is disk.wake. */
void disk_init(struct disk *disk, uint64_t size, bool read_only, unsigned scripted,
               struct wake wake, struct wake quiet);
/* No session may exist. */
void disk_destroy(struct disk *disk);

/* Bytes. */
static inline uint64_t disk_size(const struct disk *disk)
{
    return disk->size;
}

/* The session's counters continue across init: zero them before the first one. */
void disk_session_init(struct disk_session *session, struct disk *disk, struct io_engine *engine,
                       struct event_loop *loop);

/* Starts a request; may call `done` before it returns. Call io_engine_send() afterwards. */
void disk_submit(struct disk_session *session, struct disk_request *request);

/*
 * Passes the session's requests to the script with one wake-up, and continues the requests that it
 * has answered. Returns the number of answers. Call io_engine_send() afterwards.
 */
unsigned disk_session_exchange(struct disk_session *session);

#endif
