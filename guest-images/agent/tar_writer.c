#include "tar_writer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "tar_format.h"

#define XATTR_BYTES_MAX 65536
#define RECORDS_BYTES_MAX (256u << 10)
#define SEEN_CAPACITY 256
// Spreads inode numbers: 2^64 divided by the golden ratio.
#define HASH_FACTOR 0x9e3779b97f4a7c15
// The overlay's own attributes say nothing about the file.
#define OVERLAY_PREFIX "trusted.overlay."

// Records of an extended header.
struct records {
    char *data;
    size_t length;
};

static void add_record(struct records *records, const char *key, const void *value, size_t length)
{
    size_t body = strlen(key) + length + 3; // blank, equals sign, line feed
    size_t total = body + 1;
    char digits[24];
    while (total != body + (size_t)snprintf(digits, sizeof digits, "%zu", total))
        total = body + strlen(digits);
    if (records->data == NULL)
        records->data = malloc(RECORDS_BYTES_MAX);
    // An attribute that has no room is left out.
    if (records->data == NULL || records->length + total > RECORDS_BYTES_MAX)
        return;
    char *place = records->data + records->length;
    place += sprintf(place, "%s %s=", digits, key);
    memcpy(place, value, length);
    place[length] = '\n';
    records->length += total;
}

static void add_text_record(struct records *records, const char *key, const char *value)
{
    add_record(records, key, value, strlen(value));
}

// A number as octal digits, or, if they do not suffice, as a record.
static void put_number(char *field, size_t size, uint64_t value, const char *key,
                       struct records *records)
{
    char text[24];
    if (value >> (3 * (size - 1)) == 0) {
        snprintf(text, sizeof text, "%0*" PRIo64, (int)size - 1, value);
        memcpy(field, text, size - 1);
        return;
    }
    memset(field, '0', size - 1);
    snprintf(text, sizeof text, "%" PRIu64, value);
    if (key != NULL)
        add_text_record(records, key, text);
}

static void put_text(char *field, size_t size, const char *text, const char *key,
                     struct records *records)
{
    size_t length = strlen(text);
    memcpy(field, text, length < size ? length : size);
    if (length > size)
        add_text_record(records, key, text);
}

static void add_attributes(struct records *records, int fd)
{
    static char names[XATTR_BYTES_MAX], value[XATTR_BYTES_MAX], key[300];
    ssize_t length = fd < 0 ? 0 : flistxattr(fd, names, sizeof names);
    for (ssize_t i = 0; i < length; i += (ssize_t)strlen(names + i) + 1) {
        if (strncmp(names + i, OVERLAY_PREFIX, strlen(OVERLAY_PREFIX)) == 0)
            continue;
        ssize_t size = fgetxattr(fd, names + i, value, sizeof value);
        snprintf(key, sizeof key, TAR_XATTR_PREFIX "%.255s", names + i);
        if (size >= 0)
            add_record(records, key, value, (size_t)size);
    }
}

static void add_time(struct records *records, const struct timespec *time)
{
    char text[48];
    if (time->tv_nsec == 0 && time->tv_sec >= 0)
        return;
    // Before 1970 the seconds are rounded towards it, as a decimal fraction is.
    bool is_negative = time->tv_sec < 0 && time->tv_nsec > 0;
    int64_t seconds = time->tv_sec + (is_negative ? 1 : 0);
    long fraction = is_negative ? 1000000000 - time->tv_nsec : time->tv_nsec;
    snprintf(text, sizeof text, "%s%" PRId64 ".%09ld", is_negative && seconds == 0 ? "-" : "",
             seconds, fraction);
    add_text_record(records, "mtime", text);
}

static void finish_header(struct tar_header *header)
{
    unsigned sum = 0;
    memcpy(header->magic,
           "ustar\0"
           "00",
           8);
    memset(header->checksum, ' ', sizeof header->checksum);
    for (size_t i = 0; i < sizeof *header; i++)
        sum += ((const uint8_t *)header)[i];
    snprintf(header->checksum, sizeof header->checksum, "%06o", sum);
}

static void pad(struct sink *sink, uint64_t length)
{
    sink_zeroes(sink, (size_t)(-length & (TAR_BLOCK - 1)));
}

static void write_records(struct sink *sink, struct records *records)
{
    struct tar_header header = {.name = "PaxHeaders/x", .type = TAR_EXTENDED};
    struct records none = {0};
    if (records->length > 0) {
        put_number(header.mode, sizeof header.mode, 0644, NULL, &none);
        put_number(header.size, sizeof header.size, records->length, NULL, &none);
        put_number(header.mtime, sizeof header.mtime, 0, NULL, &none);
        finish_header(&header);
        sink_write(sink, &header, sizeof header);
        sink_write(sink, records->data, records->length);
        pad(sink, records->length);
    }
    free(records->data);
}

static char type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return TAR_FOLDER;
    case S_IFLNK:
        return TAR_SYMLINK;
    case S_IFCHR:
        return TAR_CHARACTER;
    case S_IFBLK:
        return TAR_BLOCK_DEVICE;
    case S_IFIFO:
        return TAR_FIFO;
    default:
        return TAR_FILE;
    }
}

static void write_header(struct tar_writer *writer, const char *name, char type,
                         const struct stat *status, const char *link, uint64_t size, int fd)
{
    struct tar_header header = {.type = type};
    struct records records = {0};
    int64_t mtime = status->st_mtim.tv_sec;
    put_text(header.name, sizeof header.name, name, "path", &records);
    put_text(header.link, sizeof header.link, link != NULL ? link : "", "linkpath", &records);
    put_number(header.mode, sizeof header.mode, status->st_mode & 07777, NULL, &records);
    put_number(header.uid, sizeof header.uid, status->st_uid, "uid", &records);
    put_number(header.gid, sizeof header.gid, status->st_gid, "gid", &records);
    put_number(header.size, sizeof header.size, size, "size", &records);
    put_number(header.mtime, sizeof header.mtime, mtime > 0 ? (uint64_t)mtime : 0, NULL, &records);
    put_number(header.major, sizeof header.major, major(status->st_rdev), NULL, &records);
    put_number(header.minor, sizeof header.minor, minor(status->st_rdev), NULL, &records);
    add_time(&records, &status->st_mtim);
    add_attributes(&records, fd);
    write_records(writer->sink, &records);
    finish_header(&header);
    sink_write(writer->sink, &header, sizeof header);
}

void tar_write_member(struct tar_writer *writer, const char *name, const struct stat *status,
                      const char *link, int fd)
{
    write_header(writer, name, type_of(status->st_mode), status, link, 0, fd);
}

// The file's place in the table, or a free one.
static struct seen *find_seen(const struct tar_writer *writer, dev_t device, ino_t inode)
{
    size_t mask = writer->seen_capacity - 1;
    size_t index = (size_t)(inode * HASH_FACTOR >> 32) & mask;
    struct seen *seen = &writer->seen[index];
    while (seen->name != NULL && (seen->inode != inode || seen->device != device)) {
        index = (index + 1) & mask;
        seen = &writer->seen[index];
    }
    return seen;
}

// Keeps half of the table free. False: no memory.
static bool grow_seen(struct tar_writer *writer)
{
    struct tar_writer larger = {.seen_capacity = SEEN_CAPACITY};
    if (writer->seen_count * 2 < writer->seen_capacity)
        return true;
    if (writer->seen_capacity > 0)
        larger.seen_capacity = writer->seen_capacity * 2;
    larger.seen = calloc(larger.seen_capacity, sizeof *larger.seen);
    if (larger.seen == NULL)
        return false;
    for (size_t i = 0; i < writer->seen_capacity; i++) {
        const struct seen *seen = &writer->seen[i];
        if (seen->name != NULL)
            *find_seen(&larger, seen->device, seen->inode) = *seen;
    }
    free(writer->seen);
    writer->seen = larger.seen;
    writer->seen_capacity = larger.seen_capacity;
    return true;
}

// The name by which this file has been written; NULL: none, and from now on it is this one.
static const char *earlier_name(struct tar_writer *writer, const char *name,
                                const struct stat *status)
{
    if (!grow_seen(writer))
        return NULL;
    struct seen *seen = find_seen(writer, status->st_dev, status->st_ino);
    if (seen->name != NULL)
        return seen->name;
    *seen = (struct seen){status->st_dev, status->st_ino, strdup(name)};
    writer->seen_count += seen->name != NULL;
    return NULL;
}

int tar_write_file(struct tar_writer *writer, const char *name, const struct stat *status, int fd)
{
    const char *earlier = status->st_nlink > 1 ? earlier_name(writer, name, status) : NULL;
    if (earlier != NULL) {
        write_header(writer, name, TAR_HARD_LINK, status, earlier, 0, -1);
        return 0;
    }
    uint64_t size = (uint64_t)status->st_size;
    write_header(writer, name, TAR_FILE, status, NULL, size, fd);
    int64_t count = sink_file(writer->sink, fd, size);
    // A file that shrinks or cannot be read meanwhile keeps the length that its header has.
    for (uint64_t rest = size - (uint64_t)(count > 0 ? count : 0); rest > 0;) {
        size_t part = rest > DATA_BYTES_MAX ? DATA_BYTES_MAX : (size_t)rest;
        if (writer->sink->error != 0)
            break;
        sink_zeroes(writer->sink, part);
        rest -= part;
    }
    pad(writer->sink, size);
    return count < 0 ? (int)count : 0;
}

void tar_write_empty(struct tar_writer *writer, const char *name)
{
    struct stat status = {.st_mode = S_IFREG | 0600};
    write_header(writer, name, TAR_FILE, &status, NULL, 0, -1);
}

void tar_write_end(struct tar_writer *writer)
{
    sink_zeroes(writer->sink, 2 * TAR_BLOCK);
    for (size_t i = 0; i < writer->seen_capacity; i++)
        free(writer->seen[i].name);
    free(writer->seen);
}
