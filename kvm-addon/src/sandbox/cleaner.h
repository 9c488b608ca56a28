/*
 * A shell that removes files once this process has ended, however it ends. A process in its sandbox
 * may not remove its sockets from folders of the user, nor its folder from one of root's.
 */
#ifndef TSVM_CLEANER_H
#define TSVM_CLEANER_H

#include <stddef.h>
#include <sys/types.h>

struct cleaner {
    pid_t pid;
    int fd; /* the end of what it reads */
};

/*
 * Starts it, before the process is confined. The first word is a folder to remove if it is empty,
 * "" for none; then come pairs: device and inode of a file as "DEVICE:INODE", and its path, which
 * is removed if it is still that file. Returns 0 or -errno.
 */
int cleaner_start(struct cleaner *cleaner, const char *const *words, size_t count);

/* Has it clean up, and waits until it is done. */
void cleaner_finish(const struct cleaner *cleaner);

#endif
