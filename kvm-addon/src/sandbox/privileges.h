/* What root gives up: the host's network, its System V and POSIX IPC, its user and its
 * capabilities. */
#ifndef TSVM_PRIVILEGES_H
#define TSVM_PRIVILEGES_H

#include <stdbool.h>
#include <stdint.h>

/* A thread's way out of root. */
struct privileges {
    int net_fd, ipc_fd; /* new namespaces; -1: none */
    uint32_t user;      /* the new user and group id; 0: none */
    bool writes;        /* keeps the right to write files and connect to sockets of all users */
};

/*
 * Makes the namespaces, which the calling thread is in from now on. As an ordinary user, or where a
 * container allows no namespaces, there will be none. Returns 0 or -errno.
 */
int privileges_prepare(struct privileges *privileges, uint32_t user, bool writes);

/* For each thread. Async-signal-safe. Returns 0 or -errno. */
int privileges_drop(const struct privileges *privileges);

/* Closes what privileges_prepare() has opened. */
void privileges_destroy(struct privileges *privileges);

#endif
