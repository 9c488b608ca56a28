/* The guest agent's parsers: what they take and what they refuse. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../../guest-images/agent/dhcp.h"
#include "../../../guest-images/agent/dns_message.h"
#include "../../../guest-images/agent/frame_reader.h"
#include "../../../guest-images/agent/message.h"
#include "../../../guest-images/agent/mount_spec.h"
#include "../../../guest-images/agent/path_request.h"
#include "../../../guest-images/agent/process_spec.h"
#include "../../../guest-images/agent/tar_format.h"
#include "../../../guest-images/agent/tar_reader.h"
#include "../check.h"

static struct bytes payload_of(struct message *message)
{
    message_end(message);
    return (struct bytes){message->data + FRAME_HEADER_BYTES, message->length - FRAME_HEADER_BYTES};
}

static void test_fields_of_a_start(void)
{
    struct message message = {0};
    struct process_spec spec;
    struct failure failure = {0};
    message_begin(&message, FRAME_START);
    message_text(&message, START_ARGUMENT, "sh");
    message_text(&message, START_ARGUMENT, "");
    message_text(&message, START_VARIABLE, "A=b");
    message_number(&message, START_COLUMNS, 80);
    message_number(&message, START_OOM_SCORE_ADJUST, (uint64_t)-500);
    CHECK(process_spec_parse(payload_of(&message), &spec, &failure) == 0);
    CHECK(spec.arguments.count == 2 && strcmp(spec.arguments.items[0], "sh") == 0);
    CHECK(spec.arguments.items[1][0] == 0 && spec.arguments.items[2] == NULL);
    CHECK(spec.has_terminal && spec.window.ws_col == 80 && spec.oom_score_adjust == -500);
    CHECK(strcmp(spec.directory, "/") == 0);
    process_spec_free(&spec);
    message_free(&message);
}

/* A start with one field of these bytes is refused. */
static bool is_refused(uint8_t tag, const void *value, size_t length)
{
    struct message message = {0};
    struct process_spec spec;
    struct failure failure = {0};
    message_begin(&message, FRAME_START);
    message_text(&message, START_ARGUMENT, "sh");
    message_bytes(&message, tag, value, length);
    int result = process_spec_parse(payload_of(&message), &spec, &failure);
    process_spec_free(&spec);
    message_free(&message);
    return result < 0 && failure.code == ERROR_INVALID_REQUEST && failure.text[0] != 0;
}

static void test_fields_that_are_refused(void)
{
    CHECK(is_refused(START_ARGUMENT, "no end", 6));
    CHECK(is_refused(START_ARGUMENT, "in\0side", 8));
    CHECK(is_refused(START_ARGUMENT, "", 0));
    CHECK(is_refused(START_STDIN, "\2\0\0\0\0\0\0\0", 8));
    CHECK(is_refused(START_STDIN, "\1\0\0\0", 4));
    CHECK(is_refused(START_ROWS, "\0\0\1\0\0\0\0\0", 8));
    CHECK(is_refused(START_DIRECTORY, "relative", 9));
    CHECK(is_refused(START_RESOURCE_LIMIT, "short", 6));
    CHECK(is_refused(200, "unknown", 8));
}

static void test_a_field_longer_than_its_request(void)
{
    const uint8_t bytes[] = {START_ARGUMENT, 0xff, 0xff, 0xff, 0xff, 'x', 0};
    struct bytes rest = {bytes, sizeof bytes};
    struct field field;
    CHECK(fields_next(&rest, &field) == -EBADMSG);
    rest = (struct bytes){bytes, 4};
    CHECK(fields_next(&rest, &field) == -EBADMSG);
    rest = (struct bytes){bytes, 0};
    CHECK(fields_next(&rest, &field) == 0);
}

static void test_tags_of_shares_are_no_paths(void)
{
    static const char *const tags[] = {"../etc", "..", "a/b", ".hidden"};
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        struct message message = {0};
        struct mount_spec spec;
        struct failure failure = {0};
        message_begin(&message, FRAME_ASSEMBLE);
        message_text(&message, MOUNT_DESTINATION, "/x");
        message_text(&message, MOUNT_SHARE_TAG, tags[i]);
        CHECK(mount_spec_parse(payload_of(&message), &spec, &failure) < 0);
        message_free(&message);
    }
}

static void test_paths_are_cleaned(void)
{
    static const struct {
        const char *given, *cleaned, *name;
        bool follow;
    } cases[] = {
        {"/a/b", "/a/b", "b", false}, {"a//b/", "/a/b", "b", true},
        {"/./a/.", "/a", "a", true},  {"", "/", "", false},
        {"/", "/", "", true},         {"/a/../b", "/a/../b", "b", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct message message = {0};
        struct path_request request;
        struct failure failure = {0};
        message_begin(&message, FRAME_PATH_STAT);
        message_text(&message, PATH_PATH, cases[i].given);
        CHECK(path_request_parse(payload_of(&message), &request, &failure) == 0);
        CHECK(strcmp(request.path, cases[i].cleaned) == 0);
        CHECK(strcmp(path_request_name(&request), cases[i].name) == 0);
        CHECK(request.follow == cases[i].follow);
        message_free(&message);
    }
}

static int file_with(const void *data, size_t length)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    CHECK(write(fd, data, length) == (ssize_t)length && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void test_frames_that_are_too_long(void)
{
    struct frame_reader reader = {0};
    const uint8_t header[] = {1, 0, 4, 0, FRAME_STDIN}; /* 262,145 bytes */
    int fd = file_with(header, sizeof header);
    CHECK(frame_reader_read(&reader, fd, DATA_BYTES_MAX) == -EMSGSIZE);
    frame_reader_free(&reader);
    close(fd);
    fd = file_with(header, 3);
    CHECK(frame_reader_read(&reader, fd, DATA_BYTES_MAX) == -ECONNRESET);
    frame_reader_free(&reader);
    close(fd);
}

/* One member's header with a right checksum. */
static void make_header(struct tar_header *header, const char *name, const char *size)
{
    unsigned sum = 0;
    char checksum[8];
    *header = (struct tar_header){.type = TAR_FILE};
    strcpy(header->name, name);
    memcpy(header->size, size, strlen(size));
    memset(header->checksum, ' ', sizeof header->checksum);
    for (size_t i = 0; i < sizeof *header; i++)
        sum += ((uint8_t *)header)[i];
    snprintf(checksum, sizeof checksum, "%06o", sum & 0777777);
    memcpy(header->checksum, checksum, 7);
}

/* What tar_next() says of an archive in one frame. */
static int read_tar(const void *data, uint32_t length, struct tar_member *member)
{
    uint8_t *framed = malloc(FRAME_HEADER_BYTES + length);
    frame_header(framed, FRAME_DATA, length);
    memcpy(framed + FRAME_HEADER_BYTES, data, length);
    struct source source = {.fd = file_with(framed, FRAME_HEADER_BYTES + length)};
    int result = tar_next(&source, member);
    close(source.fd);
    free(framed);
    return result;
}

static void test_tar_archives_that_lie(void)
{
    static struct tar_member member;
    struct tar_header header;
    make_header(&header, "file", "00000000012");
    CHECK(read_tar(&header, sizeof header, &member) == 1 && member.size == 10);
    CHECK(strcmp(member.name, "file") == 0);
    header.name[0] = 'x';
    CHECK(read_tar(&header, sizeof header, &member) == -EBADMSG); /* the checksum */
    make_header(&header, "file", "0000000001x");
    CHECK(read_tar(&header, sizeof header, &member) == -EBADMSG);
    make_header(&header, "file", "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    CHECK(read_tar(&header, sizeof header, &member) == -EBADMSG);
    CHECK(read_tar(&header, 100, &member) < 0);
    memset(&header, 0, sizeof header);
    CHECK(read_tar(&header, sizeof header, &member) == 0);
}

static void test_dhcp_answers_that_lie(void)
{
    static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 1};
    uint8_t packet[400] = {0x45};
    struct lease lease;
    uint32_t server, transaction = 7;
    const size_t options = 268;
    packet[9] = 17;
    packet[23] = 68;
    packet[28] = 2;
    memcpy(packet + 32, &transaction, 4);
    memcpy(packet + 44, "\x0a\x00\x00\x02", 4);
    memcpy(packet + 56, mac, 6);
    memcpy(packet + 264, "\x63\x82\x53\x63", 4);
    memcpy(packet + options, "\x35\x01\x02\x01\x04\xff\xff\xf0\x00\x03\x04\x0a\x00\x00\x01\xff",
           16);
    CHECK(dhcp_parse(packet, sizeof packet, transaction, mac, &lease, &server) == 2);
    CHECK(lease.prefix == 20 && lease.gateway.length == 4 && lease.address.bytes[3] == 2);
    CHECK(dhcp_parse(packet, sizeof packet, 8, mac, &lease, &server) == -EBADMSG);
    CHECK(dhcp_parse(packet, options - 1, transaction, mac, &lease, &server) == -EBADMSG);
    /* An option that is longer than the packet. */
    packet[options + 1] = 200;
    CHECK(dhcp_parse(packet, options + 16, transaction, mac, &lease, &server) == -EBADMSG);
}

static void test_dns_questions_and_answers(void)
{
    static const char asked[] = "\x12\x34\x01\x00\0\1\0\0\0\0\0\1\2db\0\0\1\0\1extra";
    const size_t length = sizeof asked - 1, question_end = 12 + 4 + 4;
    uint8_t query[DNS_QUERY_BYTES_MAX + 1] = {0}, answer[sizeof asked];
    memcpy(query, asked, length);
    for (size_t i = 0; i < length; i++)
        CHECK(dns_is_query(query, i) == (i >= question_end));
    CHECK(dns_is_query(query, DNS_QUERY_BYTES_MAX) && !dns_is_query(query, sizeof query));
    memcpy(answer, query, length);
    CHECK(!dns_is_answer(answer, length, query, length));
    answer[2] |= 0x80;
    CHECK(!dns_is_query(answer, length));
    CHECK(dns_is_answer(answer, question_end, query, length));
    CHECK(!dns_is_answer(answer, question_end - 1, query, length));
    /* Another ID, no question, another name, another type. */
    const size_t places[] = {0, 1, 5, 13, 17};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        answer[places[i]] ^= 1;
        CHECK(!dns_is_answer(answer, length, query, length));
        answer[places[i]] ^= 1;
    }
    /* Labels that point elsewhere, or behind the end. */
    query[12] = 0xc0;
    CHECK(!dns_is_query(query, length));
    query[12] = 63;
    CHECK(!dns_is_query(query, length));
    query[12] = 2;
    memset(query + 12, 1, 300);
    CHECK(!dns_is_query(query, 500));
    memcpy(query, asked, length);
    CHECK(dns_fail(query, length, DNS_SERVER_FAILURE) == question_end);
    CHECK(dns_has_failed(query) && dns_code(query) == DNS_SERVER_FAILURE && query[11] == 0);
    CHECK(dns_is_answer(query, question_end, (const uint8_t *)asked, length));
}

int main(void)
{
    test_fields_of_a_start();
    test_fields_that_are_refused();
    test_a_field_longer_than_its_request();
    test_tags_of_shares_are_no_paths();
    test_paths_are_cleaned();
    test_frames_that_are_too_long();
    test_tar_archives_that_lie();
    test_dhcp_answers_that_lie();
    test_dns_questions_and_answers();
    return check_finish();
}
