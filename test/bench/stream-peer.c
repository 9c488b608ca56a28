/*
 * A peer of stream connections for the vsock benchmark.
 *   stream-peer serve PATH                   serves connections to a socket file, a thread for each
 *   stream-peer measure PATH ORDER COUNT     connects to such a peer, does what the payload does
 * and prints the nanoseconds: a lower bound, by a UNIX socket A connection begins with an order,
 * one byte, and a count, 8 bytes, little-endian: s  reads that many bytes and answers one       r
 * writes that many bytes    e  echoes bytes
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536u

struct order {
    uint8_t what;
    uint64_t count;
} __attribute__((packed));

static void check(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t part = send(fd, bytes, length, MSG_NOSIGNAL);
        check(part > 0, "send");
        bytes += part;
        length -= (size_t)part;
    }
}

static void write_zeroes(int fd, uint64_t count)
{
    static const char bytes[CHUNK];
    for (; count > 0; count -= count < CHUNK ? count : CHUNK)
        write_all(fd, bytes, count < CHUNK ? count : CHUNK);
}

static void read_bytes(int fd, uint64_t count)
{
    char bytes[CHUNK];
    while (count > 0) {
        ssize_t part = recv(fd, bytes, count < CHUNK ? count : CHUNK, 0);
        check(part > 0, "recv");
        count -= (uint64_t)part;
    }
}

static void echo(int fd)
{
    char bytes[CHUNK];
    for (ssize_t part; (part = recv(fd, bytes, sizeof bytes, 0)) > 0;)
        write_all(fd, bytes, (size_t)part);
}

static void *serve_connection(void *argument)
{
    int fd = (int)(intptr_t)argument;
    struct order order;
    if (recv(fd, &order, sizeof order, MSG_WAITALL) == sizeof order) {
        if (order.what == 's') {
            read_bytes(fd, order.count);
            write_all(fd, "", 1);
        } else if (order.what == 'r') {
            write_zeroes(fd, order.count);
        } else {
            echo(fd);
        }
    }
    close(fd);
    return NULL;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void measure(int fd, const struct order *order)
{
    uint64_t start = now_ns();
    write_all(fd, (const char *)order, sizeof *order);
    if (order->what == 's') {
        write_zeroes(fd, order->count);
        read_bytes(fd, 1);
    } else if (order->what == 'r') {
        read_bytes(fd, order->count);
    } else {
        for (uint64_t i = 0; i < order->count; i++) {
            write_all(fd, "", 1);
            read_bytes(fd, 1);
        }
    }
    printf("ns=%lu\n", now_ns() - start);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    check(argc >= 3 && fd >= 0 && strlen(argv[2]) < sizeof address.sun_path, "stream-peer");
    strcpy(address.sun_path, argv[2]);
    if (strcmp(argv[1], "measure") == 0 && argc == 5) {
        struct order order = {.what = (uint8_t)argv[3][0], .count = strtoull(argv[4], NULL, 10)};
        check(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
        measure(fd, &order);
        return 0;
    }
    check(bind(fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(fd, 64) == 0, "listen");
    puts("listening");
    fflush(stdout);
    for (;;) {
        pthread_t thread;
        int connection = accept(fd, NULL, NULL);
        check(connection >= 0, "accept");
        check(pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)connection) == 0,
              "pthread_create");
        pthread_detach(thread);
    }
}
