#include "restored.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/random.h>

#include "protocol.h"

#define SEED_BYTES_MIN 32
#define SEED_BYTES_MAX 512
#define DISK_LOOK_NS 100000
#define DISK_LOOKS_MAX 100000

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct bytes *seed = target;
    if (field->tag != RESTORED_SEED)
        return field_unknown(field, "the restored machine", failure);
    if (field->value.length < SEED_BYTES_MIN || field->value.length > SEED_BYTES_MAX)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "a seed of %zu bytes", field->value.length);
    *seed = field->value;
    return 0;
}

// All that was drawn from the generator before, and is kept for later, is dropped by the reseeding.
static int seed_generator(struct bytes seed, struct failure *failure)
{
    _Alignas(struct rand_pool_info)
        uint8_t buffer[sizeof(struct rand_pool_info) + SEED_BYTES_MAX] = {0};
    struct rand_pool_info *pool = (struct rand_pool_info *)buffer;
    pool->entropy_count = (int)seed.length * 8;
    pool->buf_size = (int)seed.length;
    memcpy(pool->buf, seed.data, seed.length);
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fail_call(failure, "cannot open /dev/urandom");
    int result = ioctl(fd, RNDADDENTROPY, pool);
    if (result == 0)
        result = ioctl(fd, RNDRESEEDCRNG);
    if (result < 0)
        fail_call(failure, "cannot seed the random number generator");
    close(fd);
    explicit_bzero(buffer, sizeof buffer);
    return result < 0 ? -1 : 0;
}

int restored_renew(struct bytes request, struct message *reply, struct failure *failure)
{
    struct bytes seed = {0};
    (void)reply;
    if (fields_take(request, parse_field, &seed, failure) < 0)
        return -1;
    if (seed.length == 0)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "no seed");
    return seed_generator(seed, failure);
}

static uint64_t size_of_disk(int fd)
{
    uint64_t bytes;
    return ioctl(fd, BLKGETSIZE64, &bytes) < 0 ? 0 : bytes;
}

bool restored_is_disk(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    uint64_t bytes = size_of_disk(fd);
    close(fd);
    return bytes > PLACEHOLDER_BYTES;
}

int restored_await_disk(const char *path, struct failure *failure)
{
    static const struct timespec pause = {.tv_nsec = DISK_LOOK_NS};
    uint64_t bytes = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_call(failure, "cannot open %s", path);
    for (int i = 0; i < DISK_LOOKS_MAX; i++) {
        bytes = size_of_disk(fd);
        if (bytes == 0 || bytes > PLACEHOLDER_BYTES)
            break;
        nanosleep(&pause, NULL);
    }
    close(fd);
    if (bytes > PLACEHOLDER_BYTES)
        return 0;
    return fail(failure, ERROR_GUEST_FAILED, ENODEV, "%s is still a placeholder", path);
}
