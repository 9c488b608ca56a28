#include "file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static struct flock describe(bool exclusive, uint64_t start, uint64_t length)
{
    return (struct flock){
        .l_type = exclusive ? F_WRLCK : F_RDLCK,
        .l_whence = SEEK_SET,
        .l_start = (off_t)start,
        .l_len = (off_t)length,
    };
}

int file_lock(int fd, bool exclusive, uint64_t start, uint64_t length)
{
    struct flock lock = describe(exclusive, start, length);
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    /* fcntl(2) may report a conflict with either errno. */
    return errno == EACCES ? -EAGAIN : -errno;
}

int file_lock_conflicts(int fd, bool exclusive, uint64_t start, uint64_t length)
{
    struct flock lock = describe(exclusive, start, length);
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type != F_UNLCK;
}
