/* Landlock (landlock(7)): the files and folders that are left to a process. */
#ifndef TSVM_LANDLOCK_H
#define TSVM_LANDLOCK_H

#include <stddef.h>

#include "sandbox_types.h"

/* The version of Landlock's interface, at least 1; -errno where there is none. */
int landlock_version(void);

/*
 * Makes a ruleset: nothing but these paths, no TCP, no signals to other processes, no abstract
 * sockets, as far as this kernel's version has it. Paths that do not exist, or cannot be reached,
 * are left out. Returns a descriptor, for landlock_enter(), or -errno.
 */
int landlock_create(const struct sandbox_path *paths, size_t count);

/* Confines the calling thread, which needs no_new_privs. Async-signal-safe. Returns 0 or -errno. */
int landlock_enter(int ruleset);

#endif
