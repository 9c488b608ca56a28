#include "tar_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tar_format.h"

#define RECORDS_BYTES_MAX (1u << 20)

// What an extended header says of the next member.
struct extension {
    bool has_name, has_link, has_size, has_uid, has_gid, has_time;
};

// Octal digits between blanks, or GNU's base 256 with the top bit of the first byte set.
static bool parse_number(const char *field, size_t size, uint64_t *number)
{
    *number = 0;
    if ((uint8_t)field[0] == 0x80) {
        for (size_t i = 1; i < size; i++) {
            if (*number >> 56 != 0)
                return false;
            *number = *number << 8 | (uint8_t)field[i];
        }
        return true;
    }
    size_t i = 0;
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
        *number = *number << 3 | (uint64_t)(field[i] - '0');
    return i == size || field[i] == ' ' || field[i] == 0;
}

static bool checksum_is_right(const struct tar_header *header)
{
    const uint8_t *bytes = (const uint8_t *)header;
    size_t start = (size_t)(header->checksum - (const char *)header);
    uint64_t said;
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof *header; i++)
        sum += i >= start && i < start + sizeof header->checksum ? ' ' : bytes[i];
    return parse_number(header->checksum, sizeof header->checksum, &said) && said == sum;
}

static bool is_zero(const struct tar_header *header)
{
    const uint8_t *bytes = (const uint8_t *)header;
    for (size_t i = 0; i < sizeof *header; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static int copy_text(char *to, const char *from, size_t length)
{
    if (length >= PATH_MAX || memchr(from, 0, length) != NULL)
        return -EBADMSG;
    memcpy(to, from, length);
    to[length] = 0;
    return 0;
}

static void parse_time(const char *text, struct tar_member *member)
{
    char *end;
    bool is_negative = *text == '-';
    int64_t seconds = strtoll(text, &end, 10);
    long nanoseconds = 0, scale = 100000000;
    if (*end == '.') {
        for (end++; *end >= '0' && *end <= '9' && scale > 0; end++, scale /= 10)
            nanoseconds += (*end - '0') * scale;
    }
    if (is_negative && nanoseconds > 0) {
        seconds--;
        nanoseconds = 1000000000 - nanoseconds;
    }
    member->seconds = seconds;
    member->nanoseconds = nanoseconds;
}

static int take_record(const char *key, const char *value, size_t length, struct tar_member *member,
                       struct extension *extension)
{
    static const size_t prefix = sizeof TAR_XATTR_PREFIX - 1;
    if (strcmp(key, "path") == 0) {
        extension->has_name = true;
        return copy_text(member->name, value, length);
    }
    if (strcmp(key, "linkpath") == 0) {
        extension->has_link = true;
        return copy_text(member->link, value, length);
    }
    if (strcmp(key, "size") == 0) {
        extension->has_size = true;
        member->size = strtoull(value, NULL, 10);
    } else if (strcmp(key, "uid") == 0) {
        extension->has_uid = true;
        member->uid = (uid_t)strtoul(value, NULL, 10);
    } else if (strcmp(key, "gid") == 0) {
        extension->has_gid = true;
        member->gid = (gid_t)strtoul(value, NULL, 10);
    } else if (strcmp(key, "mtime") == 0) {
        extension->has_time = true;
        parse_time(value, member);
    } else if (strncmp(key, TAR_XATTR_PREFIX, prefix) == 0 &&
               member->attribute_count < TAR_ATTRIBUTES_MAX) {
        member->attributes[member->attribute_count++] =
            (struct tar_attribute){key + prefix, value, length};
    }
    return 0;
}

// Records are "LENGTH KEY=VALUE\n"; blank, equals sign and line feed become NULs.
static int parse_records(struct tar_member *member, struct extension *extension)
{
    char *rest = member->records;
    size_t left = member->records_length;
    while (left > 0) {
        char *end;
        unsigned long length = strtoul(rest, &end, 10);
        if (length < 5 || length > left || *end != ' ' || rest[length - 1] != '\n')
            return -EBADMSG;
        char *key = end + 1;
        rest[length - 1] = 0;
        char *equals = key < rest + length ? memchr(key, '=', (size_t)(rest + length - key)) : NULL;
        if (equals == NULL)
            return -EBADMSG;
        *equals = 0;
        char *value = equals + 1;
        int result =
            take_record(key, value, (size_t)(rest + length - 1 - value), member, extension);
        if (result < 0)
            return result;
        rest += length;
        left -= length;
    }
    return 0;
}

static uint64_t padding(uint64_t size)
{
    return -size & (TAR_BLOCK - 1);
}

// Reads the content of an extended header or a long name, with a NUL behind it.
static int read_text(struct source *source, uint64_t size, char **text)
{
    if (size > RECORDS_BYTES_MAX)
        return -EBADMSG;
    *text = malloc((size_t)size + 1);
    if (*text == NULL)
        return -ENOMEM;
    int result = size == 0 ? 1 : source_read_all(source, *text, (size_t)size);
    (*text)[size] = 0;
    if (result > 0)
        result = source_skip(source, padding(size));
    return result < 0 ? result : 0;
}

static int read_records(struct source *source, uint64_t size, struct tar_member *member,
                        struct extension *extension)
{
    free(member->records);
    member->attribute_count = 0;
    member->records_length = (size_t)size;
    int result = read_text(source, size, &member->records);
    return result < 0 ? result : parse_records(member, extension);
}

static int read_long_text(struct source *source, uint64_t size, char *to)
{
    char *text = NULL;
    int result = read_text(source, size, &text);
    if (result == 0)
        result = copy_text(to, text, strlen(text));
    free(text);
    return result;
}

static int copy_names(const struct tar_header *header, struct tar_member *member,
                      const struct extension *extension)
{
    size_t prefix = strnlen(header->prefix, sizeof header->prefix);
    size_t name = strnlen(header->name, sizeof header->name);
    // GNU's archives have something else in the prefix.
    if (memcmp(header->magic, "ustar\0", 6) != 0)
        prefix = 0;
    if (!extension->has_name) {
        memcpy(member->name, header->prefix, prefix);
        if (prefix > 0)
            member->name[prefix++] = '/';
        memcpy(member->name + prefix, header->name, name);
        member->name[prefix + name] = 0;
    }
    if (!extension->has_link) {
        size_t length = strnlen(header->link, sizeof header->link);
        memcpy(member->link, header->link, length);
        member->link[length] = 0;
    }
    return 0;
}

static int parse_header(const struct tar_header *header, struct tar_member *member,
                        const struct extension *extension)
{
    uint64_t mode, uid, gid, size, mtime, major, minor;
    if (!parse_number(header->mode, sizeof header->mode, &mode) ||
        !parse_number(header->uid, sizeof header->uid, &uid) ||
        !parse_number(header->gid, sizeof header->gid, &gid) ||
        !parse_number(header->size, sizeof header->size, &size) ||
        !parse_number(header->mtime, sizeof header->mtime, &mtime) ||
        !parse_number(header->major, sizeof header->major, &major) ||
        !parse_number(header->minor, sizeof header->minor, &minor))
        return -EBADMSG;
    member->mode = (mode_t)(mode & 07777);
    member->major = (unsigned)major;
    member->minor = (unsigned)minor;
    if (!extension->has_size)
        member->size = size;
    if (!extension->has_uid)
        member->uid = (uid_t)uid;
    if (!extension->has_gid)
        member->gid = (gid_t)gid;
    if (!extension->has_time) {
        member->seconds = (int64_t)mtime;
        member->nanoseconds = 0;
    }
    return copy_names(header, member, extension);
}

int tar_next(struct source *source, struct tar_member *member)
{
    struct extension extension = {0};
    member->attribute_count = 0;
    for (;;) {
        struct tar_header header;
        uint64_t size;
        int result = source_read_all(source, &header, sizeof header);
        if (result <= 0)
            return result;
        if (is_zero(&header))
            return 0;
        if (!checksum_is_right(&header) || !parse_number(header.size, sizeof header.size, &size))
            return -EBADMSG;
        switch (header.type) {
        case TAR_EXTENDED:
            result = read_records(source, size, member, &extension);
            break;
        case TAR_LONG_NAME:
            result = read_long_text(source, size, member->name);
            extension.has_name = true;
            break;
        case TAR_LONG_LINK:
            result = read_long_text(source, size, member->link);
            extension.has_link = true;
            break;
        case TAR_GLOBAL:
            result = source_skip(source, size + padding(size));
            break;
        default:
            member->type = header.type;
            result = parse_header(&header, member, &extension);
            return result < 0 ? result : 1;
        }
        if (result < 0)
            return result;
    }
}

int tar_skip_rest(struct source *source, const struct tar_member *member, uint64_t read)
{
    int result = source_skip(source, member->size - read);
    return result < 0 ? result : source_skip(source, padding(member->size));
}
