#include "disk_script.h"

#include <errno.h>

static void list_append(struct disk_request_list *list, struct disk_request *request)
{
    request->next = NULL;
    if (list->first)
        list->last->next = request;
    else
        __atomic_store_n(&list->first, request, __ATOMIC_RELAXED); /* see has_answers */
    list->last = request;
}

static struct disk_request *list_take(struct disk_request_list *list)
{
    struct disk_request *request = list->first;
    if (request)
        list->first = request->next;
    return request;
}

/* Removes and returns the request with this id, or returns NULL. */
static struct disk_request *list_remove(struct disk_request_list *list, uint64_t id)
{
    struct disk_request *before = NULL;
    for (struct disk_request *request = list->first; request; request = request->next) {
        if (request->script_id == id) {
            if (before)
                before->next = request->next;
            else
                list->first = request->next;
            if (list->last == request)
                list->last = before;
            return request;
        }
        before = request;
    }
    return NULL;
}

static struct disk_request *list_find(const struct disk_request_list *list, uint64_t id)
{
    struct disk_request *request = list->first;
    while (request && request->script_id != id)
        request = request->next;
    return request;
}

void disk_note_failure(struct disk *disk, enum disk_op op, int error)
{
    uint32_t failure = (uint32_t)op << 16 | (uint32_t)-error;
    if (__atomic_exchange_n(&disk->failure, failure, __ATOMIC_RELAXED) == 0)
        wake_notify(&disk->wake);
}

int disk_take_failure(struct disk *disk, enum disk_op *op)
{
    uint32_t failure = __atomic_exchange_n(&disk->failure, 0, __ATOMIC_RELAXED);
    *op = (enum disk_op)(failure >> 16);
    return (int)(failure & 0xffff);
}

void disk_set_scripted(struct disk *disk, unsigned scripted)
{
    /* Pairs with the acquire of the reader: a flush that sees the bit clear also sees the extents
     * that were pushed before it was cleared. */
    __atomic_store_n(&disk->scripted, scripted, __ATOMIC_RELEASE);
}

static unsigned scripted_bit(enum disk_op op)
{
    switch (op) {
    case DISK_FLUSH:
        return DISK_SCRIPTED_FLUSH;
    case DISK_DISCARD:
        return DISK_SCRIPTED_DISCARD;
    case DISK_WRITE_ZEROES:
        return DISK_SCRIPTED_WRITE_ZEROES;
    default:
        return 0;
    }
}

bool disk_op_is_scripted(struct disk *disk, enum disk_op op)
{
    /* Check the claims first: the script sets the bit before it takes them. */
    if (op == DISK_FLUSH && extent_map_has_claims(&disk->extents))
        return true;
    return __atomic_load_n(&disk->scripted, __ATOMIC_ACQUIRE) & scripted_bit(op);
}

void disk_session_ask(struct disk_session *session, struct disk_request *request)
{
    list_append(&session->asking, request);
    counter_add(&session->script_requests, 1);
    session->unanswered++;
}

void disk_session_hand_over(struct disk_session *session)
{
    struct disk *disk = session->disk;
    struct disk_request *request;
    if (!session->asking.first)
        return;
    pthread_mutex_lock(&disk->lock);
    while ((request = list_take(&session->asking)) != NULL) {
        request->script_id = disk->next_script_id++;
        list_append(&disk->arrived, request);
    }
    pthread_mutex_unlock(&disk->lock);
    wake_notify(&disk->wake);
}

bool disk_session_has_answers(struct disk_session *session)
{
    /* A hint, read without the lock: if it is missed, the script's wake-up ends the sleep. */
    return __atomic_load_n(&session->answered.first, __ATOMIC_RELAXED) != NULL;
}

struct disk_request *disk_session_take_answers(struct disk_session *session)
{
    struct disk_request *first = NULL;
    if (disk_session_has_answers(session)) {
        pthread_mutex_lock(&session->disk->lock);
        first = session->answered.first;
        __atomic_store_n(&session->answered.first, NULL, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&session->disk->lock);
    }
    return first;
}

bool disk_script_take(struct disk *disk, struct disk_script_request *taken)
{
    pthread_mutex_lock(&disk->lock);
    struct disk_request *request = list_take(&disk->arrived);
    if (request) {
        bool flush = request->step == DISK_FLUSH;
        *taken = (struct disk_script_request){
            .id = request->script_id,
            .op = request->step,
            .may_unmap = request->may_unmap,
            .offset = flush ? 0 : request->offset,
            .length = flush ? 0 : request->length,
            .gap_offset = flush ? 0 : request->offset + request->progress,
        };
        list_append(&disk->taken, request);
    }
    pthread_mutex_unlock(&disk->lock);
    return request != NULL;
}

/* Returns an answered request to its session. Called with the lock held. */
static void script_answer(struct disk *disk, struct disk_request *request)
{
    struct disk_session *session = request->session;
    list_remove(&disk->taken, request->script_id);
    list_append(&session->answered, request);
    /* Under the lock, so that the session cannot end before the wake-up. */
    event_loop_wake(session->loop);
}

int disk_script_retry(struct disk *disk, uint64_t id)
{
    pthread_mutex_lock(&disk->lock);
    struct disk_request *request = list_find(&disk->taken, id);
    if (request) {
        request->retry = true;
        script_answer(disk, request);
    }
    pthread_mutex_unlock(&disk->lock);
    return request ? 0 : -EINVAL;
}

int disk_script_finish(struct disk *disk, uint64_t id, int error, const void *data, size_t bytes)
{
    int result = -EINVAL;
    pthread_mutex_lock(&disk->lock);
    struct disk_request *request = list_find(&disk->taken, id);
    bool gives_data = request && request->step == DISK_READ && error == 0;
    if (request && (gives_data ? data && bytes == request->length : !data)) {
        if (data)
            iov_copy_to(&request->buffers, data, bytes);
        request->retry = false;
        request->error = error;
        script_answer(disk, request);
        result = 0;
    }
    pthread_mutex_unlock(&disk->lock);
    return result;
}

int64_t disk_script_data_bytes(struct disk *disk, uint64_t id)
{
    pthread_mutex_lock(&disk->lock);
    const struct disk_request *request = list_find(&disk->taken, id);
    int64_t bytes = request && request->step == DISK_WRITE ? (int64_t)request->length : -EINVAL;
    pthread_mutex_unlock(&disk->lock);
    return bytes;
}

int disk_script_copy_data(struct disk *disk, uint64_t id, void *data, size_t bytes)
{
    int result = -EINVAL;
    pthread_mutex_lock(&disk->lock);
    const struct disk_request *request = list_find(&disk->taken, id);
    if (request && request->step == DISK_WRITE && bytes == request->length) {
        iov_copy_from(&request->buffers, data, bytes);
        result = 0;
    }
    pthread_mutex_unlock(&disk->lock);
    return result;
}
