/* Files of the host for tests of the disk. */
#ifndef TSVM_TEST_HOST_FILE_H
#define TSVM_TEST_HOST_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A file of this size with no name, on the file system of temporary files. */
static inline int host_file(uint64_t bytes)
{
    char path[] = "/tmp/tsvm-test-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || unlink(path) < 0 || ftruncate(fd, (off_t)bytes) < 0) {
        perror(path);
        exit(2);
    }
    return fd;
}

/* The same in memory: a file system that can punch holes but not zero ranges. */
static inline int memory_file(uint64_t bytes)
{
    int fd = memfd_create("tsvm-test", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
        perror("memfd");
        exit(2);
    }
    return fd;
}

/* Fills a buffer with bytes that depend on `seed` and on their place. */
static inline void pattern_fill(uint8_t *bytes, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8) + (i >> 16));
}

#endif
