#include "disk.h"

#include <errno.h>

#include "disk_request.h"

void disk_init(struct disk *disk, uint64_t size, bool read_only, unsigned scripted,
               struct wake wake, struct wake quiet)
{
    *disk = (struct disk){.size = size,
                          .read_only = read_only,
                          .scripted = scripted,
                          .wake = wake,
                          .next_script_id = 1};
    extent_map_init(&disk->extents, quiet);
    pthread_mutex_init(&disk->lock, NULL);
}

void disk_destroy(struct disk *disk)
{
    extent_map_destroy(&disk->extents);
    pthread_mutex_destroy(&disk->lock);
}

void disk_session_init(struct disk_session *session, struct disk *disk, struct io_engine *engine,
                       struct event_loop *loop)
{
    *session = (struct disk_session){
        .disk = disk, .engine = engine, .loop = loop, .script_requests = session->script_requests};
}

void disk_submit(struct disk_session *session, struct disk_request *request)
{
    const struct disk *disk = session->disk;
    uint64_t size = disk_size(disk);
    bool reads = request->op == DISK_READ || request->op == DISK_FLUSH;
    request->session = session;
    if (request->length > size || request->offset > size - request->length)
        request->done(request, -EIO);
    else if (disk->read_only && !reads)
        request->done(request, -EROFS);
    else
        disk_request_begin(request);
}

unsigned disk_session_exchange(struct disk_session *session)
{
    struct disk_request *request = disk_session_take_answers(session);
    unsigned count = 0;
    while (request) {
        struct disk_request *next = request->next;
        count++;
        session->unanswered--;
        if (request->retry)
            disk_request_advance(request);
        else
            disk_request_finish(request, request->error);
        request = next;
    }
    disk_session_hand_over(session);
    return count;
}
