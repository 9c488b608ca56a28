/* Which parts of a file have space, and giving and taking it: lseek(2), fallocate(2). */
#ifndef TSVM_FILE_SPACE_H
#define TSVM_FILE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

/* The first byte at or behind `offset` that is in no hole. -ENXIO when there is none. */
int64_t file_seek_data(int fd, uint64_t offset);

/* The first byte at or behind `offset` that is in a hole, as the end of a file is. */
int64_t file_seek_hole(int fd, uint64_t offset);

/* Reserves space for the range, and lets the file grow to its end. Returns 0 or -errno. */
int file_allocate(int fd, uint64_t offset, uint64_t length);

/*
 * Makes the range read as zeroes: a hole when `deallocate` is set, else space that stays reserved.
 * The file keeps its size. Returns 0 or -errno.
 */
int file_zero(int fd, uint64_t offset, uint64_t length, bool deallocate);

#endif
