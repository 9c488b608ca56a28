/*
 * The guest's half of the vsock tests: PID 1 of an initial RAM disk. It serves these ports:
 *   1000  echoes what it gets, and shuts down its direction after the peer has
 *   1001  reads to the end, then tells how many bytes came and their sum
 *   1002  sends zeroes for ever
 *   1003  accepts, and closes at once
 * and takes commands from port 2000 of the host, one a line:
 *   echo PORT BYTES   sends bytes to a port, shuts down, expects the same back:  "echo N" or an
 * error dial PORT         connects and closes:  "dial 0", or the errno hold PORT COUNT   opens
 * connections and keeps them:  "hold N" off               switches the machine off
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define CHUNK 65536
#define HOST_CID 2
#define COMMAND_PORT 2000
#define CONNECTIONS_MAX 8192

static void fail(const char *what)
{
    printf("vsock_peer: %s: %s\n", what, strerror(errno));
    reboot(RB_POWER_OFF);
}

static int dial(unsigned port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = HOST_CID, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (fd < 0)
        fail("socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static int listen_on(unsigned port)
{
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        fail("listen");
    return fd;
}

static void write_all(int fd, const void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t part = send(fd, (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        if (part < 0)
            return;
        done += (size_t)part;
    }
}

/* An echoed connection: `length` bytes are not written yet. */
struct echo {
    int fd;
    uint32_t watched;
    int ended;
    size_t start, length;
    char *bytes;
};

static void echo_watch(int epoll, struct echo *echo, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = echo};
    if (events != echo->watched)
        epoll_ctl(epoll, EPOLL_CTL_MOD, echo->fd, &event);
    echo->watched = events;
}

static void echo_turn(int epoll, struct echo *echo)
{
    char bytes[CHUNK];
    if (echo->length == 0) {
        ssize_t got = recv(echo->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            shutdown(echo->fd, SHUT_WR);
            close(echo->fd);
            free(echo);
            return;
        }
        echo->bytes = malloc((size_t)got);
        memcpy(echo->bytes, bytes, (size_t)got);
        echo->start = 0;
        echo->length = (size_t)got;
    }
    ssize_t sent =
        send(echo->fd, echo->bytes + echo->start, echo->length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        sent = (ssize_t)echo->length;
    if (sent > 0) {
        echo->start += (size_t)sent;
        echo->length -= (size_t)sent;
    }
    if (echo->length == 0)
        free(echo->bytes);
    echo_watch(epoll, echo, echo->length > 0 ? EPOLLOUT : EPOLLIN);
}

static void *echo_main(void *argument)
{
    int listener = (int)(intptr_t)argument, epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            struct echo *echo = events[i].data.ptr;
            if (echo) {
                echo_turn(epoll, echo);
                continue;
            }
            echo = calloc(1, sizeof *echo);
            echo->fd = accept(listener, NULL, NULL);
            echo->watched = EPOLLIN;
            event = (struct epoll_event){.events = EPOLLIN, .data.ptr = echo};
            epoll_ctl(epoll, EPOLL_CTL_ADD, echo->fd, &event);
        }
    }
    return NULL;
}

static void *sum_connection(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char *bytes = malloc(CHUNK), answer[64];
    unsigned long count = 0, sum = 0;
    for (ssize_t got; (got = recv(fd, bytes, CHUNK, 0)) > 0; count += (unsigned long)got) {
        for (ssize_t i = 0; i < got; i++)
            sum += (unsigned char)bytes[i];
    }
    write_all(fd, answer, (size_t)snprintf(answer, sizeof answer, "%lu %lu\n", count, sum));
    close(fd);
    free(bytes);
    return NULL;
}

static void *zeroes_connection(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char *bytes = calloc(1, CHUNK);
    while (send(fd, bytes, CHUNK, MSG_NOSIGNAL) > 0)
        continue;
    close(fd);
    free(bytes);
    return NULL;
}

static void *close_connection(void *argument)
{
    close((int)(intptr_t)argument);
    return NULL;
}

struct service {
    unsigned port;
    void *(*serve)(void *fd);
    int listener;
};

static void *service_main(void *argument)
{
    const struct service *service = argument;
    for (;;) {
        pthread_t thread;
        int fd = accept(service->listener, NULL, NULL);
        if (fd >= 0 && pthread_create(&thread, NULL, service->serve, (void *)(intptr_t)fd) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

struct sending {
    int fd;
    size_t length;
};

static unsigned char pattern(size_t offset)
{
    return (unsigned char)(offset * 7 + (offset >> 8) * 13 + (offset >> 16));
}

static void *send_main(void *argument)
{
    const struct sending *sending = argument;
    unsigned char *bytes = malloc(CHUNK);
    for (size_t done = 0; done < sending->length;) {
        size_t part = sending->length - done < CHUNK ? sending->length - done : CHUNK;
        for (size_t i = 0; i < part; i++)
            bytes[i] = pattern(done + i);
        write_all(sending->fd, bytes, part);
        done += part;
    }
    shutdown(sending->fd, SHUT_WR);
    free(bytes);
    return NULL;
}

/* Returns the number of bytes that came back, or -1 if they differ. */
static long echo_through(unsigned port, size_t length)
{
    struct sending sending = {.fd = dial(port), .length = length};
    pthread_t thread;
    unsigned char *bytes = malloc(CHUNK);
    size_t got = 0;
    int same = 1;
    if (sending.fd < 0)
        return -1;
    pthread_create(&thread, NULL, send_main, &sending);
    for (ssize_t part; (part = recv(sending.fd, bytes, CHUNK, 0)) > 0; got += (size_t)part) {
        for (ssize_t i = 0; i < part; i++)
            same &= bytes[i] == pattern(got + (size_t)i);
    }
    pthread_join(thread, NULL);
    close(sending.fd);
    free(bytes);
    return same ? (long)got : -1;
}

static unsigned hold(unsigned port, unsigned count)
{
    unsigned held = 0;
    while (held < count && dial(port) >= 0)
        held++;
    return held;
}

int main(void)
{
    static struct service services[] = {
        {1001, sum_connection, -1}, {1002, zeroes_connection, -1}, {1003, close_connection, -1}};
    struct rlimit limit = {CONNECTIONS_MAX + 64, CONNECTIONS_MAX + 64};
    setrlimit(RLIMIT_NOFILE, &limit);
    pthread_t thread;
    /* All ports are open before the host is told that the program is ready. */
    pthread_create(&thread, NULL, echo_main, (void *)(intptr_t)listen_on(1000));
    for (unsigned i = 0; i < sizeof services / sizeof services[0]; i++) {
        services[i].listener = listen_on(services[i].port);
        pthread_create(&thread, NULL, service_main, &services[i]);
    }
    int fd = dial(COMMAND_PORT);
    if (fd < 0)
        fail("dial");
    FILE *commands = fdopen(fd, "r+");
    setvbuf(commands, NULL, _IOLBF, 0);
    fprintf(commands, "ready\n");
    for (char line[128]; fgets(line, sizeof line, commands);) {
        unsigned port, count;
        if (sscanf(line, "echo %u %u", &port, &count) == 2) {
            fprintf(commands, "echo %ld\n", echo_through(port, count));
        } else if (sscanf(line, "dial %u", &port) == 1) {
            int result = dial(port);
            if (result >= 0)
                close(result);
            fprintf(commands, "dial %d\n", result < 0 ? -result : 0);
        } else if (sscanf(line, "hold %u %u", &port, &count) == 2) {
            fprintf(commands, "hold %u\n", hold(port, count));
        } else {
            break;
        }
    }
    reboot(RB_POWER_OFF);
}
