#include "file_space.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int64_t seek(int fd, uint64_t offset, int whence)
{
    off_t found = lseek(fd, (off_t)offset, whence);
    return found < 0 ? -errno : found;
}

int64_t file_seek_data(int fd, uint64_t offset)
{
    return seek(fd, offset, SEEK_DATA);
}

int64_t file_seek_hole(int fd, uint64_t offset)
{
    return seek(fd, offset, SEEK_HOLE);
}

static int allocate(int fd, int mode, uint64_t offset, uint64_t length)
{
    int result;
    do {
        result = fallocate(fd, mode, (off_t)offset, (off_t)length);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}

int file_allocate(int fd, uint64_t offset, uint64_t length)
{
    return allocate(fd, 0, offset, length);
}

int file_zero(int fd, uint64_t offset, uint64_t length, bool deallocate)
{
    int mode = deallocate ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
    return allocate(fd, mode | FALLOC_FL_KEEP_SIZE, offset, length);
}
