#include "../../src/util/file_space.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "../check.h"
#include "../host_file.h"

#define BLOCK 65536u

static void write_block(int fd, uint64_t offset)
{
    static uint8_t bytes[BLOCK];
    memset(bytes, 0xa5, sizeof bytes);
    CHECK(pwrite(fd, bytes, sizeof bytes, (off_t)offset) == (ssize_t)sizeof bytes);
}

static bool reads_as(int fd, uint64_t offset, uint8_t value)
{
    uint8_t bytes[BLOCK];
    if (pread(fd, bytes, sizeof bytes, (off_t)offset) != (ssize_t)sizeof bytes)
        return false;
    for (size_t i = 0; i < sizeof bytes; i++) {
        if (bytes[i] != value)
            return false;
    }
    return true;
}

static int64_t allocated_bytes(int fd)
{
    struct stat stat;
    return fstat(fd, &stat) < 0 ? -1 : stat.st_blocks * 512;
}

static int64_t file_bytes(int fd)
{
    struct stat stat;
    return fstat(fd, &stat) < 0 ? -1 : stat.st_size;
}

/* In memory, where the kernel knows holes whatever the file system of temporary files is. */
static void finds_data_and_holes(void)
{
    int fd = memory_file(16 * BLOCK);
    write_block(fd, 4 * BLOCK);
    CHECK(file_seek_data(fd, 0) == 4 * BLOCK);
    CHECK(file_seek_data(fd, 4 * BLOCK + 1) == 4 * BLOCK + 1);
    CHECK(file_seek_hole(fd, 4 * BLOCK) == 5 * BLOCK);
    CHECK(file_seek_hole(fd, 0) == 0);
    CHECK(file_seek_data(fd, 5 * BLOCK) == -ENXIO);
    CHECK(file_seek_hole(fd, 16 * BLOCK + 1) == -ENXIO);
    CHECK(file_seek_data(-1, 0) == -EBADF);
    close(fd);
}

static void punches_holes(void)
{
    int fd = memory_file(4 * BLOCK);
    write_block(fd, 0);
    write_block(fd, BLOCK);
    CHECK(file_zero(fd, 0, BLOCK, true) == 0);
    CHECK(reads_as(fd, 0, 0));
    CHECK(reads_as(fd, BLOCK, 0xa5));
    CHECK(file_seek_data(fd, 0) == BLOCK);
    CHECK(file_zero(fd, 3 * BLOCK, 8 * BLOCK, true) == 0);
    CHECK(file_bytes(fd) == 4 * BLOCK);
    CHECK(file_zero(fd, 0, BLOCK, false) == -EOPNOTSUPP);
    close(fd);
}

static void reserves_space(void)
{
    int fd = host_file(0);
    int error = file_allocate(fd, BLOCK, 2 * BLOCK);
    CHECK(error == 0 || error == -EOPNOTSUPP);
    if (error == 0) {
        CHECK(file_bytes(fd) == 3 * BLOCK);
        CHECK(allocated_bytes(fd) >= 2 * BLOCK);
        CHECK(reads_as(fd, BLOCK, 0));
    }
    close(fd);
}

static void zeroes_but_keeps_space(void)
{
    int fd = host_file(0);
    write_block(fd, 0);
    int64_t before = allocated_bytes(fd);
    int error = file_zero(fd, 0, BLOCK, false);
    CHECK(error == 0 || error == -EOPNOTSUPP);
    if (error == 0) {
        CHECK(reads_as(fd, 0, 0));
        CHECK(allocated_bytes(fd) >= before);
    }
    close(fd);
}

static void refuses_what_the_kernel_refuses(void)
{
    int fd = memory_file(BLOCK);
    CHECK(file_allocate(fd, 0, 0) == -EINVAL);
    CHECK(file_allocate(fd, UINT64_MAX, 1) == -EINVAL);
    CHECK(file_zero(-1, 0, 1, true) == -EBADF);
    close(fd);
}

int main(void)
{
    finds_data_and_holes();
    punches_holes();
    reserves_space();
    zeroes_but_keeps_space();
    refuses_what_the_kernel_refuses();
    return check_finish();
}
