/*
 * Everything that the guest agent reads from others: requests of the host, tar archives, answers of
 * DHCP servers. None of it makes the agent read or write outside of what it was given.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../../guest-images/agent/cgroup.h"
#include "../../../guest-images/agent/container.h"
#include "../../../guest-images/agent/dhcp.h"
#include "../../../guest-images/agent/dns_message.h"
#include "../../../guest-images/agent/frame_reader.h"
#include "../../../guest-images/agent/interface_spec.h"
#include "../../../guest-images/agent/mount_spec.h"
#include "../../../guest-images/agent/path_request.h"
#include "../../../guest-images/agent/process_spec.h"
#include "../../../guest-images/agent/root_spec.h"
#include "../../../guest-images/agent/tar_reader.h"

enum parser { START, ASSEMBLE, LIMITS, PATH, FRAMES, TAR, DHCP, DNS, PARSERS };

/* A file with the input, for what reads descriptors. */
static int input_file(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("input", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size ||
        lseek(fd, 0, SEEK_SET) != 0)
        abort();
    return fd;
}

static void parse_start(struct bytes bytes)
{
    struct process_spec spec;
    struct failure failure;
    process_spec_parse(bytes, &spec, &failure);
    process_spec_free(&spec);
}

static void parse_assemble(struct bytes bytes)
{
    static struct root_spec spec;
    struct failure failure;
    root_spec_parse(bytes, &spec, &failure);
    for (size_t i = 0; i < spec.mount_count; i++) {
        struct mount_spec mount;
        mount_spec_parse(spec.mounts[i], &mount, &failure);
    }
    for (size_t i = 0; i < spec.interface_count; i++) {
        struct interface_spec interface;
        interface_spec_parse(spec.interfaces[i], &interface, &failure);
    }
    for (size_t i = 0; i < container.sysctls.count; i++)
        free((char *)container.sysctls.items[i]);
    text_list_free(&container.sysctls);
}

static void parse_frames(struct bytes bytes)
{
    struct frame_reader reader = {0};
    int fd = input_file(bytes.data, bytes.length);
    while (frame_reader_read(&reader, fd, DATA_BYTES_MAX) > 0)
        frame_reader_next(&reader);
    frame_reader_free(&reader);
}

/* Wraps the input in frames of data, as it comes from the host. */
static void parse_tar(struct bytes bytes)
{
    static struct tar_member member;
    static uint8_t framed[FRAME_HEADER_BYTES + DATA_BYTES_MAX];
    size_t length = bytes.length < DATA_BYTES_MAX ? bytes.length : DATA_BYTES_MAX;
    uint32_t length32 = (uint32_t)length;
    memcpy(framed, &length32, sizeof length32);
    framed[4] = FRAME_DATA;
    if (length > 0)
        memcpy(framed + FRAME_HEADER_BYTES, bytes.data, length);
    struct source source = {.fd = input_file(framed, FRAME_HEADER_BYTES + length)};
    while (tar_next(&source, &member) > 0) {
        size_t sum = strlen(member.name) + strlen(member.link);
        for (size_t i = 0; i < member.attribute_count; i++) {
            const struct tar_attribute *attribute = &member.attributes[i];
            sum += strlen(attribute->name) + (uint8_t)attribute->value[attribute->length];
        }
        if (sum == SIZE_MAX || tar_skip_rest(&source, &member, 0) < 0)
            break;
    }
}

static void parse_dhcp(struct bytes bytes)
{
    static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 1};
    struct lease lease;
    uint32_t server = 0;
    dhcp_parse(bytes.data, bytes.length, 0x01020304, mac, &lease, &server);
}

/* The input is a question, and its answer behind it. */
static void parse_dns(struct bytes bytes)
{
    size_t length = bytes.length > 0 ? bytes.data[0] : 0;
    if (length + 1 > bytes.length || !dns_is_query(bytes.data + 1, length))
        return;
    uint8_t *query = malloc(length);
    if (query == NULL)
        return;
    memcpy(query, bytes.data + 1, length);
    const uint8_t *answer = bytes.data + 1 + length;
    if (dns_is_answer(answer, bytes.length - 1 - length, query, length))
        dns_has_failed(answer);
    if (dns_fail(query, length, DNS_SERVER_FAILURE) > length)
        abort();
    free(query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct path_request path;
    struct limits limits;
    struct failure failure;
    if (size == 0)
        return 0;
    /* Exactly as long, so that the sanitizer sees a read behind the end. */
    uint8_t *copy = malloc(size - 1 > 0 ? size - 1 : 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, data + 1, size - 1);
    struct bytes bytes = {copy, size - 1};
    switch (data[0] % PARSERS) {
    case START:
        parse_start(bytes);
        break;
    case ASSEMBLE:
        parse_assemble(bytes);
        break;
    case LIMITS:
        limits_parse(bytes, &limits, &failure);
        break;
    case PATH:
        path_request_parse(bytes, &path, &failure);
        break;
    case FRAMES:
        parse_frames(bytes);
        break;
    case TAR:
        parse_tar(bytes);
        break;
    case DNS:
        parse_dns(bytes);
        break;
    default:
        parse_dhcp(bytes);
    }
    free(copy);
    return 0;
}
