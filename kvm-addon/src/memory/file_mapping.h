/*
 * Files as guest memory, shared with whoever else maps them.
 *
 * The host's file can become shorter while it is mapped, or its file system full while a hole is
 * written. An access then raises SIGBUS, which would end the process. Here, such a page becomes one
 * of zeroes of this process: the guest sees them, and the process lives on to say what has
 * happened. (KVM does not get the signal: KVM_RUN fails with EFAULT.)
 */
#ifndef TSVM_FILE_MAPPING_H
#define TSVM_FILE_MAPPING_H

#include <stdbool.h>
#include <stdint.h>

/* Files that can be mapped at a time in the process. */
#define FILE_MAPPINGS_MAX 64

struct file_mapping_source {
    int fd;             /* may be closed after the call */
    uint64_t file_size; /* bytes to map, from the file's start; behind them are zeroes */
    bool read_only;
};

/*
 * Maps a file into `size` bytes of address space, whole pages and at least the file's size. Returns
 * 0, -ENODATA (the file is shorter than it should be), -ENOSPC (too many files) or another -errno.
 */
int file_mapping_create(const struct file_mapping_source *source, uint64_t size, void **hva);
void file_mapping_free(void *hva, uint64_t size);

#endif
