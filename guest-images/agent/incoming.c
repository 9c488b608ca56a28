#include "incoming.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "frame_reader.h"
#include "loop.h"
#include "process.h"
#include "vsock.h"
#include "worker.h"

struct incoming {
    struct watch connection; // first: a pointer to one is a pointer to the other
    struct frame_reader reader;
};

static struct watch listener;

static void incoming_free(struct incoming *incoming)
{
    loop_close(&incoming->connection);
    frame_reader_free(&incoming->reader);
    free(incoming);
}

// Hands the connection and its request over.
static void incoming_dispatch(struct incoming *incoming)
{
    struct frame_reader *reader = &incoming->reader;
    int fd = incoming->connection.fd;
    loop_change(&incoming->connection, 0);
    incoming->connection.fd = -1;
    if (reader->type == FRAME_START)
        process_start(fd, reader);
    else
        worker_start(fd, reader);
    incoming_free(incoming);
}

static void incoming_ready(struct watch *watch, uint32_t events)
{
    struct incoming *incoming = (struct incoming *)watch;
    int result = frame_reader_read(&incoming->reader, watch->fd, REQUEST_BYTES_MAX);
    (void)events;
    if (result > 0)
        incoming_dispatch(incoming);
    else if (result < 0)
        incoming_free(incoming);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    int fd;
    (void)events;
    while ((fd = vsock_accept(watch->fd)) != -EAGAIN) {
        if (fd < 0)
            continue;
        struct incoming *incoming = calloc(1, sizeof *incoming);
        if (incoming == NULL) {
            loop_close(&(struct watch){.fd = fd});
            continue;
        }
        incoming->connection = (struct watch){.fd = fd, .ready = incoming_ready};
        loop_add(&incoming->connection, EPOLLIN);
        // The request is often here already.
        incoming_ready(&incoming->connection, EPOLLIN);
    }
}

int incoming_open(void)
{
    int fd = vsock_listen(AGENT_PORT);
    if (fd < 0)
        return fd;
    listener = (struct watch){.fd = fd, .ready = listener_ready};
    return loop_add(&listener, EPOLLIN);
}
