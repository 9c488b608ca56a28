#include "vsock_host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../util/clock.h"
#include "../util/unix_socket.h"
#include "vsock_connection.h"

/* Maximum length of a host program's first line: "CONNECT 4294967295\n" and some blanks. */
#define GREETING_BYTES_MAX 32u

#define HOST_BUFFER_BYTES (1 << 20)

/* Maximum number of connections accepted at a time, so that other work need not wait. */
#define ACCEPTS_MAX 64

/* Delay before the next attempt after the process or the host ran out of descriptors or memory. */
#define ACCEPT_RETRY_NS 100000000u
/* Delay before the next attempt to connect to a listener whose backlog is full. */
#define CALL_RETRY_NS 5000000u

/* Refuses a host program's connection: it sees the end of the stream. */
static void greeting_refuse(struct vsock_connection *connection)
{
    counter_add(&connection->vsock->statistics.refused, 1);
    vsock_connection_free(connection);
}

/* Parses "CONNECT <port>\n". Returns false for anything else. */
static bool greeting_parse(const char *line, uint32_t *port)
{
    static const char WORD[] = "CONNECT ";
    char *end;

    if (strncmp(line, WORD, sizeof WORD - 1) != 0)
        return false;
    const char *number = line + sizeof WORD - 1;
    if (*number < '0' || *number > '9')
        return false;
    unsigned long value = strtoul(number, &end, 10);
    if (value > UINT32_MAX || strcmp(end[0] == '\r' ? end + 1 : end, "") != 0)
        return false;
    *port = (uint32_t)value;
    return true;
}

static void request_timed_out(struct event_timer *timer)
{
    struct vsock *vsock = LIST_ELEMENT(timer, struct vsock, request_timer);
    uint64_t now = now_ns();

    while (!list_is_empty(&vsock->requested)) {
        struct vsock_connection *oldest =
            LIST_ELEMENT(vsock->requested.next, struct vsock_connection, waiting);
        if (oldest->deadline_ns > now) {
            event_loop_set_timer(vsock->loop, timer, oldest->deadline_ns - now);
            return;
        }
        counter_add(&vsock->statistics.refused, 1);
        vsock_connection_reset(oldest);
    }
}

/* Requests a connection to `port` from the guest. */
static void connection_request(struct vsock_connection *connection, uint32_t port)
{
    struct vsock *vsock = connection->vsock;

    connection->guest_port = port;
    connection->host_port = vsock_free_host_port(vsock, port);
    connection->state = VSOCK_REQUESTED;
    connection->deadline_ns = now_ns() + VSOCK_CONNECT_TIMEOUT_NS;
    vsock_connection_insert(connection);
    list_append(&vsock->requested, &connection->waiting);
    vsock_connection_send(connection, VSOCK_SEND_REQUEST);
    if (!vsock->request_timer.set)
        event_loop_set_timer(vsock->loop, &vsock->request_timer, VSOCK_CONNECT_TIMEOUT_NS);
}

/*
 * Reads the line that names the port a host program wants. Data after it is for the guest. `ended`:
 * no more data will come.
 */
static void greeting_read(struct vsock_connection *connection, bool ended)
{
    char line[GREETING_BYTES_MAX + 1];
    uint32_t port;
    int fd = connection->source.fd;
    ssize_t length = recv(fd, line, GREETING_BYTES_MAX, MSG_PEEK | MSG_DONTWAIT);

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    char *end = length > 0 ? memchr(line, '\n', (size_t)length) : NULL;
    if (!end && !ended && length > 0 && length < (ssize_t)GREETING_BYTES_MAX)
        return;
    if (!end || recv(fd, line, (size_t)(end - line) + 1, MSG_DONTWAIT) != end - line + 1) {
        greeting_refuse(connection);
        return;
    }
    *end = '\0';
    if (greeting_parse(line, &port))
        connection_request(connection, port);
    else
        greeting_refuse(connection);
}

static void host_ready(struct event_source *source, uint32_t events)
{
    struct vsock_connection *connection = LIST_ELEMENT(source, struct vsock_connection, source);
    bool hung_up = events & (EPOLLHUP | EPOLLERR);

    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        connection->readable = true;
    connection->hung_up = connection->hung_up || hung_up;
    switch (connection->state) {
    case VSOCK_GREETING:
        greeting_read(connection, hung_up || events & EPOLLRDHUP);
        return;
    case VSOCK_REQUESTED:
        if (hung_up)
            vsock_connection_reset(connection);
        return;
    case VSOCK_ESTABLISHED:
        if (hung_up && (connection->host_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND)) {
            vsock_connection_shut_host(connection, VIRTIO_VSOCK_SHUTDOWN_RCV);
            return;
        }
        vsock_connection_update(connection);
        break;
    case VSOCK_LINGERING:
        break;
    default:
        return;
    }
    if ((events & EPOLLOUT || hung_up) && connection->buffer.length > 0)
        vsock_connection_flush(connection);
}

/* Edge-triggered: `readable` and the buffer record what is left to do. Returns 0 or -errno. */
static int connection_watch(struct vsock_connection *connection)
{
    connection->source.ready = host_ready;
    return event_loop_add(connection->vsock->loop, &connection->source,
                          EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

/* A larger socket buffer makes its reader and this thread wait for each other less often. The
 * kernel doubles the value and limits it to twice net.core.wmem_max. TCP sizes its own better. */
static void host_buffer_enlarge(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){HOST_BUFFER_BYTES}, sizeof(int));
}

static void listener_stop(struct vsock_listener *listener)
{
    if (listener->watched)
        event_loop_remove(listener->vsock->loop, &listener->source);
    listener->watched = false;
}

static int listener_start(struct vsock_listener *listener)
{
    int error = event_loop_add(listener->vsock->loop, &listener->source, EPOLLIN);

    listener->watched = error == 0;
    return error;
}

static void listener_retry(struct event_timer *timer)
{
    struct vsock *vsock = LIST_ELEMENT(timer, struct vsock, listen_timer);

    for (struct list *link = vsock->listeners.next; link != &vsock->listeners; link = link->next) {
        struct vsock_listener *listener = LIST_ELEMENT(link, struct vsock_listener, link);
        if (!listener->watched)
            listener_start(listener);
    }
}

/* A client of a published port is told at once that nobody serves it. */
static void client_refuse(struct vsock *vsock, int fd)
{
    counter_add(&vsock->statistics.refused, 1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
}

static void client_accept(const struct vsock_listener *listener, int fd)
{
    struct vsock *vsock = listener->vsock;
    struct vsock_connection *connection = vsock->connection_count < vsock->connections_max
                                              ? vsock_connection_create(vsock, fd)
                                              : NULL;
    if (!connection) {
        client_refuse(vsock, fd);
        return;
    }
    if (connection_watch(connection) < 0)
        greeting_refuse(connection);
    else
        connection_request(connection, listener->guest_port);
}

static void connection_accept(struct vsock *vsock, int fd)
{
    host_buffer_enlarge(fd);
    struct vsock_connection *connection = vsock->connection_count < vsock->connections_max
                                              ? vsock_connection_create(vsock, fd)
                                              : NULL;
    if (!connection) {
        counter_add(&vsock->statistics.refused, 1);
        close(fd);
        return;
    }
    connection->says_ok = true;
    if (connection_watch(connection) < 0)
        greeting_refuse(connection);
}

static void listener_ready(struct event_source *source, uint32_t events)
{
    struct vsock_listener *listener = LIST_ELEMENT(source, struct vsock_listener, source);
    struct vsock *vsock = listener->vsock;

    (void)events;
    for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0 && listener->published) {
            client_accept(listener, fd);
            continue;
        }
        if (fd >= 0) {
            connection_accept(vsock, fd);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR)
            continue;
        if (errno != EAGAIN) {
            /* The connection stays in the backlog, so the source would always be ready. */
            listener_stop(listener);
            event_loop_set_timer(vsock->loop, &vsock->listen_timer, ACCEPT_RETRY_NS);
        }
        return;
    }
}

/* The host's end of a connection that the guest requested is established. */
static void connection_answer(struct vsock_connection *connection)
{
    host_buffer_enlarge(connection->source.fd);
    if (connection_watch(connection) < 0) {
        vsock_connection_reset(connection);
        return;
    }
    connection->state = VSOCK_ESTABLISHED;
    counter_add(&connection->vsock->statistics.connections, 1);
    vsock_connection_send(connection, VSOCK_SEND_RESPONSE);
}

/* Creates a socket pair for a port that this process listens on. Returns -ECONNREFUSED, -errno. */
static int connect_inside(struct vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
    struct vsock_accepted *accepted = malloc(sizeof *accepted);
    int ends[2] = {-1, -1};
    bool found = false;

    pthread_mutex_lock(&vsock->lock);
    for (unsigned i = 0; i < vsock->port_count && !found; i++)
        found = vsock->ports[i] == host_port;
    if (found && accepted &&
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0) {
        *accepted = (struct vsock_accepted){
            .host_port = host_port, .guest_port = guest_port, .fd = ends[1]};
        list_append(&vsock->accepted, &accepted->link);
        accepted = NULL;
    }
    pthread_mutex_unlock(&vsock->lock);
    free(accepted);
    if (ends[0] >= 0)
        wake_notify(&vsock->wake);
    else if (found)
        return -EMFILE;
    return ends[0] >= 0 ? ends[0] : -ECONNREFUSED;
}

static int connect_path(const struct vsock *vsock, uint32_t port)
{
    char path[VSOCK_PORT_PATH_MAX];

    if (vsock->path[0] == '\0')
        return -ECONNREFUSED;
    snprintf(path, sizeof path, "%s_%u", vsock->path, port);
    return unix_socket_connect(path);
}

static void call_retry(struct event_timer *timer)
{
    struct vsock *vsock = LIST_ELEMENT(timer, struct vsock, call_timer);
    uint64_t now = now_ns();

    while (!list_is_empty(&vsock->calling)) {
        struct vsock_connection *connection =
            LIST_ELEMENT(vsock->calling.next, struct vsock_connection, waiting);
        int fd = connect_path(vsock, connection->host_port);
        if (fd == -EAGAIN && connection->deadline_ns > now) {
            event_loop_set_timer(vsock->loop, timer, CALL_RETRY_NS);
            return;
        }
        list_remove(&connection->waiting);
        connection->source.fd = fd < 0 ? -1 : fd;
        if (fd < 0) {
            counter_add(&vsock->statistics.refused, 1);
            vsock_connection_reset(connection);
        } else {
            connection_answer(connection);
        }
    }
}

void vsock_host_request(struct vsock *vsock, const struct virtio_vsock_hdr *request)
{
    uint32_t guest_port = request->src_port, host_port = request->dst_port;
    int fd = -EMFILE;

    if (vsock->connection_count < vsock->connections_max) {
        fd = connect_inside(vsock, host_port, guest_port);
        if (fd == -ECONNREFUSED)
            fd = connect_path(vsock, host_port);
    }
    struct vsock_connection *connection = NULL;
    if (fd >= 0 || fd == -EAGAIN)
        connection = vsock_connection_create(vsock, fd < 0 ? -1 : fd);
    if (!connection) {
        if (fd >= 0)
            close(fd);
        counter_add(&vsock->statistics.refused, 1);
        vsock_reply_reset(vsock, guest_port, host_port, request->type);
        return;
    }
    connection->guest_port = guest_port;
    connection->host_port = host_port;
    connection->guest_buffer_bytes = request->buf_alloc;
    connection->guest_forwarded = request->fwd_cnt;
    vsock_connection_insert(connection);
    if (fd >= 0) {
        connection_answer(connection);
        return;
    }
    connection->state = VSOCK_CALLING;
    connection->deadline_ns = now_ns() + VSOCK_CONNECT_TIMEOUT_NS;
    list_append(&vsock->calling, &connection->waiting);
    if (!vsock->call_timer.set)
        event_loop_set_timer(vsock->loop, &vsock->call_timer, CALL_RETRY_NS);
}

void vsock_host_established(struct vsock_connection *connection)
{
    char line[sizeof "OK 4294967295\n"];

    list_remove(&connection->waiting);
    connection->state = VSOCK_ESTABLISHED;
    counter_add(&connection->vsock->statistics.connections, 1);
    if (connection->says_ok) {
        int length = snprintf(line, sizeof line, "OK %u\n", connection->host_port);
        /* The socket buffer has room, because these are the first bytes sent. */
        if (send(connection->source.fd, line, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL) !=
            length) {
            vsock_connection_reset(connection);
            return;
        }
    }
    vsock_connection_update(connection);
}

static void list_take(struct list *from, struct list *to)
{
    list_init(to);
    while (!list_is_empty(from)) {
        struct list *link = from->next;
        list_remove(link);
        list_append(to, link);
    }
}

static void listener_take(struct vsock *vsock, struct vsock_listener *listener)
{
    listener->source.ready = listener_ready;
    list_append(&vsock->listeners, &listener->link);
    if (listener_start(listener) < 0)
        event_loop_set_timer(vsock->loop, &vsock->listen_timer, ACCEPT_RETRY_NS);
}

unsigned vsock_host_take_connecting(struct vsock *vsock)
{
    struct list taken, listeners;
    unsigned count = 0;

    if (!__atomic_load_n(&vsock->has_connecting, __ATOMIC_RELAXED))
        return 0;
    pthread_mutex_lock(&vsock->lock);
    list_take(&vsock->connecting, &taken);
    list_take(&vsock->publishing, &listeners);
    __atomic_store_n(&vsock->has_connecting, false, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&vsock->lock);
    for (; !list_is_empty(&taken); count++) {
        struct vsock_accepted *entry = LIST_ELEMENT(taken.next, struct vsock_accepted, link);
        list_remove(&entry->link);
        connection_accept(vsock, entry->fd);
        free(entry);
    }
    for (; !list_is_empty(&listeners); count++) {
        struct vsock_listener *listener = LIST_ELEMENT(listeners.next, struct vsock_listener, link);
        list_remove(&listener->link);
        listener_take(vsock, listener);
    }
    return count;
}

int vsock_host_watch(struct vsock *vsock)
{
    int error = 0;

    vsock->listen_timer = (struct event_timer){.expired = listener_retry};
    vsock->request_timer = (struct event_timer){.expired = request_timed_out};
    vsock->call_timer = (struct event_timer){.expired = call_retry};
    for (struct list *link = vsock->listeners.next; link != &vsock->listeners && error == 0;
         link = link->next) {
        struct vsock_listener *listener = LIST_ELEMENT(link, struct vsock_listener, link);
        listener->source.ready = listener_ready;
        error = listener_start(listener);
    }
    for (struct list *link = vsock->connections.next; link != &vsock->connections && error == 0;
         link = link->next) {
        struct vsock_connection *connection = LIST_ELEMENT(link, struct vsock_connection, all);
        if (connection->source.fd >= 0)
            error = connection_watch(connection);
    }
    if (error == 0 && !list_is_empty(&vsock->requested))
        error = event_loop_set_timer(vsock->loop, &vsock->request_timer, VSOCK_CONNECT_TIMEOUT_NS);
    if (error == 0 && !list_is_empty(&vsock->calling))
        error = event_loop_set_timer(vsock->loop, &vsock->call_timer, CALL_RETRY_NS);
    return error;
}
