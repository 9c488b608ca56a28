/*
 * A disk: its size, its extents, and the requests that a script (TypeScript) has to resolve.
 * Queue workers submit requests in sessions, one a thread. What the extents can serve, the session
 * does with its I/O engine; the rest goes to the script, and holds nothing else up.
 *
 * The script's side is disk_script.h.
 */
#ifndef TSVM_DISK_H
#define TSVM_DISK_H

#include "disk_script.h"
#include "disk_types.h"

/* `quiet`: a ticket of the extent map may have become quiet. `wake`: script requests arrived. */
void disk_init(struct disk *disk, uint64_t size, bool read_only, unsigned scripted,
               struct wake wake, struct wake quiet);
/* No session may exist. */
void disk_destroy(struct disk *disk);

void disk_set_size(struct disk *disk, uint64_t size);

/* Bytes. */
static inline uint64_t disk_size(const struct disk *disk)
{
    return __atomic_load_n(&disk->size, __ATOMIC_RELAXED);
}

/* The session's counter goes on from one init to the next: zeroed before the first. */
void disk_session_init(struct disk_session *session, struct disk *disk, struct io_engine *engine,
                       struct event_loop *loop);

/* Starts a request; `done` may be called before this returns. What it submits is not sent yet. */
void disk_submit(struct disk_session *session, struct disk_request *request);

/*
 * Tells the script, in one wake-up, what the session has for it, and goes on with what it has
 * answered. Returns the number of answers. What this submits is not sent yet.
 */
unsigned disk_session_exchange(struct disk_session *session);

#endif
