#include "vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vsock_connection.h"
#include "vsock_host.h"
#include "vsock_rx.h"
#include "vsock_tx.h"

static struct vsock *vsock_of(struct queue_handler *handler)
{
    return LIST_ELEMENT(handler, struct vsock, handler);
}

static bool vsock_wants(struct queue_handler *handler, const struct virtqueue *queue)
{
    struct vsock *vsock = vsock_of(handler);

    switch (queue->index) {
    case VSOCK_RX_QUEUE:
        return vsock_rx_has_packets(vsock);
    case VSOCK_TX_QUEUE:
        return vsock->reply_count < VSOCK_REPLIES_MAX;
    default:
        return vsock->event_reset;
    }
}

/* Sends the driver the event that all connections are closed. */
static unsigned event_serve(struct vsock *vsock, struct virtqueue *queue)
{
    struct virtio_vsock_event event = {.id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET};
    struct virtqueue_chain chain;

    if (virtqueue_pop(queue, vsock->iov, &chain) <= 0)
        return 0;
    struct iov_span writable = {.iov = vsock->iov + chain.readable_count,
                                .count = chain.writable_count};
    size_t written = iov_copy_to(&writable, &event, sizeof event);
    vsock->event_reset = written < sizeof event;
    virtqueue_push(queue, chain.head, (uint32_t)written);
    return 1;
}

static unsigned vsock_serve(struct queue_handler *handler, struct virtqueue *queue, unsigned max)
{
    struct vsock *vsock = vsock_of(handler);

    switch (queue->index) {
    case VSOCK_RX_QUEUE:
        return vsock_rx_serve(vsock, queue, max);
    case VSOCK_TX_QUEUE:
        return vsock_tx_serve(vsock, queue, max);
    default:
        return event_serve(vsock, queue);
    }
}

static bool vsock_has_answers(struct queue_handler *handler)
{
    return __atomic_load_n(&vsock_of(handler)->has_connecting, __ATOMIC_RELAXED);
}

static unsigned vsock_exchange(struct queue_handler *handler)
{
    return vsock_host_take_connecting(vsock_of(handler));
}

/*
 * No polling: the next work depends on a host program as often as on the guest, and polling would
 * take the core that the program needs.
 */
static bool vsock_waits(struct queue_handler *handler)
{
    return vsock_of(handler)->connection_count > 0;
}

static void loop_set(struct vsock *vsock, struct event_loop *loop)
{
    pthread_mutex_lock(&vsock->lock);
    vsock->loop = loop;
    pthread_mutex_unlock(&vsock->lock);
}

static void vsock_free(struct queue_handler *handler)
{
    struct vsock *vsock = vsock_of(handler);

    loop_set(vsock, NULL);
    free(vsock->iov);
    free(vsock->part);
    vsock->iov = vsock->part = NULL;
}

static int vsock_start(struct queue_handler *handler, struct queue_worker *worker)
{
    struct vsock *vsock = vsock_of(handler);

    vsock->queue_size = 0;
    for (unsigned i = 0; i < worker->options.queue_count; i++) {
        if (worker->queues[i].size > vsock->queue_size)
            vsock->queue_size = worker->queues[i].size;
    }
    /* Room for two chains of any length; see data_send(). */
    vsock->iov = calloc(2 * vsock->queue_size, sizeof *vsock->iov);
    vsock->part = calloc(2 * vsock->queue_size, sizeof *vsock->part);
    loop_set(vsock, &worker->loop);
    int error = vsock->iov && vsock->part ? vsock_host_watch(vsock) : -ENOMEM;
    if (error < 0)
        vsock_free(handler);
    return error;
}

static unsigned connections_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
        limit.rlim_cur / VSOCK_DESCRIPTORS_SHARE > VSOCK_CONNECTIONS_MAX)
        return VSOCK_CONNECTIONS_MAX;
    return (unsigned)(limit.rlim_cur / VSOCK_DESCRIPTORS_SHARE);
}

int vsock_init(struct vsock *vsock, uint64_t guest_cid, const char *path, int listener,
               struct wake wake)
{
    if (strlen(path) > VSOCK_PATH_MAX)
        return -ENAMETOOLONG;
    *vsock = (struct vsock){
        .handler = {.name = "tsvm-vsock",
                    .sandbox = SANDBOX_VSOCK,
                    .start = vsock_start,
                    .free = vsock_free,
                    .serve = vsock_serve,
                    .wants = vsock_wants,
                    .exchange = vsock_exchange,
                    .has_answers = vsock_has_answers,
                    .waits = vsock_waits,
                    .turn_chains = VSOCK_TURN_CHAINS},
        .guest_cid = guest_cid,
        .wake = wake,
        .connections_max = connections_max(),
    };
    strcpy(vsock->path, path);
    vsock->file = (struct vsock_listener){.vsock = vsock, .source = {.fd = listener}};
    list_init(&vsock->listeners);
    if (listener >= 0)
        list_append(&vsock->listeners, &vsock->file.link);
    /* So that ports that the guest still knows after a restore are unlikely to be reused. */
    if (getrandom(&vsock->hash_seed, sizeof vsock->hash_seed, 0) < 0 ||
        getrandom(&vsock->next_host_port, sizeof vsock->next_host_port, 0) < 0)
        return -errno;
    vsock->buckets = calloc(VSOCK_BUCKETS, sizeof(struct vsock_connection *));
    if (!vsock->buckets)
        return -ENOMEM;
    list_init(&vsock->connections);
    list_init(&vsock->ready);
    list_init(&vsock->requested);
    list_init(&vsock->calling);
    list_init(&vsock->accepted);
    list_init(&vsock->connecting);
    list_init(&vsock->publishing);
    pthread_mutex_init(&vsock->lock, NULL);
    return 0;
}

void vsock_reset(struct vsock *vsock, bool tell_guest)
{
    while (!list_is_empty(&vsock->connections))
        vsock_connection_free(LIST_ELEMENT(vsock->connections.next, struct vsock_connection, all));
    vsock->reply_count = 0;
    vsock->event_reset = tell_guest;
}

static void accepted_free(struct list *list)
{
    while (!list_is_empty(list)) {
        struct vsock_accepted *entry = LIST_ELEMENT(list->next, struct vsock_accepted, link);
        list_remove(&entry->link);
        close(entry->fd);
        free(entry);
    }
}

static void listeners_free(struct vsock *vsock, struct list *list)
{
    while (!list_is_empty(list)) {
        struct vsock_listener *listener = LIST_ELEMENT(list->next, struct vsock_listener, link);
        list_remove(&listener->link);
        if (listener == &vsock->file)
            continue;
        close(listener->source.fd);
        free(listener);
    }
}

void vsock_destroy(struct vsock *vsock)
{
    /* Ports first: who connects from now on is refused, and not reset. */
    listeners_free(vsock, &vsock->listeners);
    listeners_free(vsock, &vsock->publishing);
    vsock_reset(vsock, false);
    accepted_free(&vsock->accepted);
    accepted_free(&vsock->connecting);
    free(vsock->buckets);
    free(vsock->ports);
    pthread_mutex_destroy(&vsock->lock);
}

/* Has the worker take over what was appended to a list of its. Called with the lock held. */
static void worker_tell(struct vsock *vsock)
{
    __atomic_store_n(&vsock->has_connecting, true, __ATOMIC_RELAXED);
    if (vsock->loop)
        event_loop_wake(vsock->loop);
}

int vsock_publish(struct vsock *vsock, int fd, uint32_t guest_port)
{
    struct vsock_listener *listener = malloc(sizeof *listener);

    if (!listener)
        return -ENOMEM;
    *listener = (struct vsock_listener){
        .vsock = vsock, .source = {.fd = fd}, .published = true, .guest_port = guest_port};
    pthread_mutex_lock(&vsock->lock);
    list_append(&vsock->publishing, &listener->link);
    worker_tell(vsock);
    pthread_mutex_unlock(&vsock->lock);
    return 0;
}

int vsock_connect(struct vsock *vsock)
{
    struct vsock_accepted *entry = malloc(sizeof *entry);
    int ends[2];

    if (!entry)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
        int error = -errno;
        free(entry);
        return error;
    }
    *entry = (struct vsock_accepted){.fd = ends[1]};
    pthread_mutex_lock(&vsock->lock);
    list_append(&vsock->connecting, &entry->link);
    worker_tell(vsock);
    pthread_mutex_unlock(&vsock->lock);
    return ends[0];
}

int vsock_listen(struct vsock *vsock, uint32_t port)
{
    int error = 0;

    pthread_mutex_lock(&vsock->lock);
    for (unsigned i = 0; i < vsock->port_count && error == 0; i++)
        error = vsock->ports[i] == port ? -EADDRINUSE : 0;
    if (error == 0) {
        uint32_t *ports = realloc(vsock->ports, (vsock->port_count + 1) * sizeof *vsock->ports);
        if (ports) {
            vsock->ports = ports;
            ports[vsock->port_count++] = port;
        } else {
            error = -ENOMEM;
        }
    }
    pthread_mutex_unlock(&vsock->lock);
    return error;
}

void vsock_unlisten(struct vsock *vsock, uint32_t port)
{
    pthread_mutex_lock(&vsock->lock);
    for (unsigned i = 0; i < vsock->port_count; i++) {
        if (vsock->ports[i] == port)
            vsock->ports[i] = vsock->ports[--vsock->port_count];
    }
    pthread_mutex_unlock(&vsock->lock);
}

bool vsock_take_accepted(struct vsock *vsock, struct vsock_accepted *accepted)
{
    struct vsock_accepted *entry = NULL;

    pthread_mutex_lock(&vsock->lock);
    if (!list_is_empty(&vsock->accepted)) {
        entry = LIST_ELEMENT(vsock->accepted.next, struct vsock_accepted, link);
        list_remove(&entry->link);
    }
    pthread_mutex_unlock(&vsock->lock);
    if (!entry)
        return false;
    *accepted = *entry;
    free(entry);
    return true;
}
