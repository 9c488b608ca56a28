/* Allocated and unallocated parts of a file: lseek(2), fallocate(2). */
#ifndef TSVM_FILE_SPACE_H
#define TSVM_FILE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

/* Offset of the first data at or after `offset`; -ENXIO when there is none, or -errno. */
int64_t file_seek_data(int fd, uint64_t offset);

/* Offset of the first hole at or after `offset`; the end of the file counts as a hole. */
int64_t file_seek_hole(int fd, uint64_t offset);

/* Allocates space for the range and extends the file to its end. Returns 0 or -errno. */
int file_allocate(int fd, uint64_t offset, uint64_t length);

/*
 * Zeroes the range: as a hole if `deallocate`, otherwise it stays allocated. The file keeps its
 * size. Returns 0 or -errno.
 */
int file_zero(int fd, uint64_t offset, uint64_t length, bool deallocate);

#endif
