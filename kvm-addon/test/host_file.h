/* Files of the host for tests. */
#ifndef TSVM_TEST_HOST_FILE_H
#define TSVM_TEST_HOST_FILE_H

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A template for mkstemp(3) and mkdtemp(3) in the folder of temporary files. */
static inline void temporary_template(char path[PATH_MAX])
{
    const char *folder = getenv("TMPDIR");
    int length = snprintf(path, PATH_MAX, "%s/tsvm-test-XXXXXX", folder ? folder : "/tmp");
    if (length >= PATH_MAX) {
        fprintf(stderr, "TMPDIR is too long\n");
        exit(2);
    }
}

/* A file of this size with no name, on the file system of temporary files. */
static inline int host_file(uint64_t bytes)
{
    char path[PATH_MAX];
    temporary_template(path);
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
