#include "write_now.h"

#include <errno.h>
#include <sys/uio.h>

#define AT_FILE_POSITION (-1)

ssize_t write_now(int fd, const void *bytes, size_t length)
{
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    ssize_t written;
    do {
        written = pwritev2(fd, &part, 1, AT_FILE_POSITION, RWF_NOWAIT);
    } while (written < 0 && errno == EINTR);
    if (written >= 0)
        return written;
    return errno == EAGAIN ? 0 : -errno;
}
