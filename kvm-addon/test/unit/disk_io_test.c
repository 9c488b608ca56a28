/* Disk requests on real files, with both engines. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "../disk_setup.h"
#include "../host_file.h"

static void data_goes_to_files_and_back(int (*create)(struct io_engine **))
{
    struct setup s;
    static uint8_t written[3 * MIB], read[3 * MIB];
    int first = host_file(4 * MIB), second = host_file(4 * MIB);
    setup_init(&s, create, 16 * MIB);
    /* 64 KiB stripes over two files, so that a request takes several rounds. */
    for (unsigned i = 0; i < 64; i++)
        push(&s, i * 65536u, 65536, i % 2 ? first : second, (63 - i) / 2 * 65536u, 0);
    pattern_fill(written, sizeof written, 1);
    CHECK(run(&s, DISK_WRITE, 512, sizeof written, written) == 0);
    CHECK(run(&s, DISK_READ, 512, sizeof read, read) == 0);
    CHECK(memcmp(written, read, sizeof read) == 0);
    /* Guest offset 65536 is the second stripe: place 31 of `first`. */
    CHECK(pread(first, read, 4096, 31 * 65536) == 4096);
    CHECK(memcmp(written + 65536 - 512, read, 4096) == 0);
    CHECK(run(&s, DISK_FLUSH, 0, 0, NULL) == 0);
    setup_free(&s);
    close(first);
    close(second);
}

static void zero_extents_read_as_zeroes(int (*create)(struct io_engine **))
{
    struct setup s;
    uint8_t data[4096], zero[2048] = {0}, ones[2048];
    int fd = host_file(MIB);
    memset(ones, 1, sizeof ones);
    CHECK(pwrite(fd, ones, sizeof ones, 0) == sizeof ones);
    setup_init(&s, create, MIB);
    push(&s, 0, 2048, -1, 0, EXTENT_ZERO);
    push(&s, 2048, 2048, fd, 0, EXTENT_READ_ONLY);
    memset(data, 7, sizeof data);
    CHECK(run(&s, DISK_READ, 0, 4096, data) == 0);
    CHECK(memcmp(data, zero, 2048) == 0 && memcmp(data + 2048, ones, 2048) == 0);
    CHECK(run(&s, DISK_WRITE_ZEROES, 0, 2048, NULL) == 0); /* nothing to do */
    setup_free(&s);
    close(fd);
}

/* A file that shrank has lost data: that is an error, not zeroes. */
static void read_past_the_end_of_the_file_fails(int (*create)(struct io_engine **))
{
    struct setup s;
    static uint8_t data[8192];
    int fd = host_file(4096);
    setup_init(&s, create, 8192);
    push(&s, 0, 8192, fd, 0, 0);
    CHECK(run(&s, DISK_READ, 0, 8192, data) == -EIO);
    CHECK(run(&s, DISK_READ, 4096, 4096, data) == -EIO);
    CHECK(run(&s, DISK_READ, 0, 4096, data) == 0);
    setup_free(&s);
    close(fd);
}

/* The driver is told, and the script: it is woken for the first failure, and learns of the last. */
static void failing_write_is_reported(int (*create)(struct io_engine **))
{
    struct setup s;
    static uint8_t data[4096];
    enum disk_op op;
    int fd = open("/dev/null", O_RDONLY);
    setup_init(&s, create, 8192);
    push(&s, 0, 8192, fd, 0, 0);
    CHECK(disk_take_failure(&s.disk, &op) == 0 && s.wakes == 0);
    CHECK(run(&s, DISK_READ, 0, 4096, data) == -EIO);
    CHECK(run(&s, DISK_WRITE, 0, 4096, data) == -EBADF);
    CHECK(s.wakes == 1);
    CHECK(disk_take_failure(&s.disk, &op) == EBADF && op == DISK_WRITE);
    CHECK(disk_take_failure(&s.disk, &op) == 0);
    setup_free(&s);
    close(fd);
}

/* More buffers than one system call takes. */
static void many_buffers(int (*create)(struct io_engine **))
{
    enum { COUNT = 3000 };
    static struct iovec iov[COUNT];
    static uint8_t written[COUNT * 512], read[COUNT * 512];
    struct setup s;
    int fd = host_file(sizeof written);
    setup_init(&s, create, sizeof written);
    push(&s, 0, sizeof written, fd, 0, 0);
    pattern_fill(written, sizeof written, 3);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < COUNT; i++)
            iov[i] = (struct iovec){(pass ? read : written) + i * 512, 512};
        struct tracked t = {.request = {.op = pass ? DISK_READ : DISK_WRITE,
                                        .length = sizeof written,
                                        .buffers = {iov, COUNT},
                                        .done = tracked_done}};
        disk_submit(&s.session, &t.request);
        await(&s, &t);
        CHECK(t.error == 0);
    }
    CHECK(memcmp(written, read, sizeof read) == 0);
    setup_free(&s);
    close(fd);
}

static void discard_and_write_zeroes(int (*create)(struct io_engine **), int (*file)(uint64_t))
{
    struct setup s;
    static uint8_t data[4 * MIB], zero[4 * MIB];
    struct stat before, after;
    int fd = file(4 * MIB);
    setup_init(&s, create, 4 * MIB);
    push(&s, 0, 4 * MIB, fd, 0, 0);
    memset(data, 1, sizeof data);
    CHECK(run(&s, DISK_WRITE, 0, 4 * MIB, data) == 0);
    CHECK(run(&s, DISK_WRITE_ZEROES, 512, 3 * MIB - 512, NULL) == 0);
    CHECK(run(&s, DISK_READ, 0, 4 * MIB, data) == 0);
    CHECK(data[511] == 1 && data[3 * MIB] == 1);
    CHECK(memcmp(data + 512, zero, 3 * MIB - 512) == 0);

    memset(data, 1, sizeof data);
    CHECK(run(&s, DISK_WRITE, 0, 4 * MIB, data) == 0);
    CHECK(run(&s, DISK_FLUSH, 0, 0, NULL) == 0);
    fstat(fd, &before);
    struct tracked t = {.request.may_unmap = true};
    tracked_start(&t, &s.session, DISK_WRITE_ZEROES, 0, MIB, NULL);
    await(&s, &t);
    CHECK(t.error == 0);
    CHECK(run(&s, DISK_DISCARD, MIB, MIB, NULL) == 0);
    fstat(fd, &after);
    CHECK(after.st_blocks <= before.st_blocks - 2 * (MIB / 512) && after.st_size == 4 * MIB);
    CHECK(run(&s, DISK_READ, 0, 4 * MIB, data) == 0);
    CHECK(memcmp(data, zero, 2 * MIB) == 0 && data[2 * MIB] == 1);
    setup_free(&s);
    close(fd);
}

static void script_resolves_a_gap(int (*create)(struct io_engine **))
{
    struct setup s;
    static uint8_t written[8192], read[8192];
    int fd = host_file(MIB);
    setup_init(&s, create, MIB);
    push(&s, 0, 4096, fd, 0, 0);
    pattern_fill(written, sizeof written, 5);
    struct tracked t = {0}, other = {0};
    tracked_start(&t, &s.session, DISK_WRITE, 0, 8192, written);
    while (!s.session.asking.first) {
        io_engine_send(s.engine);
        if (io_engine_reap(s.engine) == 0)
            rest(&s);
    }
    struct disk_script_request asked = take(&s);
    CHECK(s.wakes == 1);
    CHECK(asked.op == DISK_WRITE && asked.offset == 0 && asked.length == 8192);
    CHECK(asked.gap_offset == 4096);
    CHECK(disk_script_data_bytes(&s.disk, asked.id) == 8192);
    CHECK(disk_script_copy_data(&s.disk, asked.id, read, 8192) == 0);
    CHECK(memcmp(read, written, 8192) == 0);
    CHECK(disk_script_copy_data(&s.disk, asked.id, read, 8191) == -EINVAL);

    /* It holds nothing else up. */
    tracked_start(&other, &s.session, DISK_READ, 0, 4096, read);
    await(&s, &other);
    CHECK(other.error == 0 && !t.ended);

    push(&s, 4096, 4096, fd, 65536, 0);
    CHECK(disk_script_retry(&s.disk, asked.id) == 0);
    CHECK(disk_script_retry(&s.disk, asked.id) == -EINVAL); /* it has been answered */
    await(&s, &t);
    CHECK(t.error == 0);
    CHECK(pread(fd, read, 4096, 65536) == 4096 && memcmp(read, written + 4096, 4096) == 0);
    setup_free(&s);
    close(fd);
}

static void with_engine(int (*create)(struct io_engine **))
{
    data_goes_to_files_and_back(create);
    zero_extents_read_as_zeroes(create);
    read_past_the_end_of_the_file_fails(create);
    failing_write_is_reported(create);
    many_buffers(create);
    discard_and_write_zeroes(create, host_file);
    discard_and_write_zeroes(create, memory_file);
    script_resolves_a_gap(create);
}

static int merging_threads_create(struct io_engine **engine)
{
    struct io_engine *threads;
    int error = io_engine_create_threads(&threads);
    return error < 0 ? error : io_engine_create_merging(engine, threads);
}

/* More engines, one after the other and at once, than rings. */
static void rings_of_the_stock(void)
{
    struct io_engine *engines[3];
    CHECK(io_engine_stock_io_uring(1) == 0);
    with_engine(io_engine_create_io_uring);
    with_engine(io_engine_create_io_uring);
    for (unsigned i = 0; i < 3; i++)
        CHECK(io_engine_create_io_uring(&engines[i]) == 0);
    CHECK(engines[0]->ops != engines[1]->ops && engines[1]->ops == engines[2]->ops);
    for (unsigned i = 0; i < 3; i++)
        io_engine_destroy(engines[i]);
}

int main(void)
{
    with_engine(io_engine_create_threads);
    with_engine(merging_threads_create);
    if (io_engine_probe_io_uring()) {
        with_engine(io_engine_create_io_uring);
        rings_of_the_stock();
    } else {
        printf("io_uring: skipped, this host refuses it\n");
    }
    return check_finish();
}
