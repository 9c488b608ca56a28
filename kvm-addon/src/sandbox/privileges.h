/* What root gives up: the host's network, its System V and POSIX IPC, its files, its user and its
 * capabilities. */
#ifndef TSVM_PRIVILEGES_H
#define TSVM_PRIVILEGES_H

#include <stdbool.h>
#include <stdint.h>

#include "namespaces.h"

/* A thread's way out of root. */
struct privileges {
    struct namespaces namespaces;
    uint32_t user; /* the new user and group id; 0: none */
    bool writes;   /* keeps the right to write files and connect to sockets of all users */
};

/*
 * Takes the namespaces, if there is a new user. Where a container allows none, there will be none.
 * Returns 0 or -errno.
 */
int privileges_prepare(struct privileges *privileges, const struct sandbox_needs *needs);

/* For each thread. Async-signal-safe. Returns 0 or -errno. */
int privileges_drop(const struct privileges *privileges);

/* Closes what privileges_prepare() has taken. */
void privileges_destroy(struct privileges *privileges);

#endif
