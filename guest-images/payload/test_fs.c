/* Requests to a shared folder (virtio 1.2, 5.11) that try to leave it, as no kernel sends them. The
 * host has put "given" into the folder, the symbolic links "absolute" and "relative" to a file
 * beside it, and a folder "inside". */
#include <linux/fuse.h>

#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtqueue.h"

#define REQUEST_QUEUE 1
#define NAME_MAX_BYTES 64
#define ENOENT_NUMBER 2
#define UNKNOWN_NODE 0xdeadbeefull

struct fs {
    struct virtqueue queue;
    uint64_t unique;
};

/* Sends a request and waits for the answer; returns the error (a negative errno), 0, or 1 when none
 * comes. */
static int fs_request(struct fs *fs, uint32_t opcode, uint64_t node, const void *body,
                      uint32_t body_bytes, void *answer, uint32_t answer_bytes)
{
    static struct fuse_in_header in;
    static struct fuse_out_header out;
    in = (struct fuse_in_header){.len = (uint32_t)sizeof(in) + body_bytes,
                                 .opcode = opcode,
                                 .unique = ++fs->unique,
                                 .nodeid = node};
    struct segment segments[4] = {{&in, sizeof(in), 0},
                                  {(void *)body, body_bytes, 0},
                                  {&out, sizeof(out), VRING_DESC_F_WRITE},
                                  {answer, answer_bytes, VRING_DESC_F_WRITE}};
    struct completion completion;
    if (virtqueue_add(&fs->queue, segments, answer_bytes > 0 ? 4 : 3, CHAIN_DIRECT) < 0)
        return 1;
    virtqueue_kick(&fs->queue);
    for (uint64_t start = rdtsc(); !virtqueue_reap(&fs->queue, &completion); cpu_relax())
        if (timed_out(start))
            return 1;
    return out.error;
}

static int fs_lookup(struct fs *fs, uint64_t node, const char *name, struct fuse_entry_out *entry)
{
    static char bytes[NAME_MAX_BYTES];
    uint32_t length = (uint32_t)strlen(name) + 1;
    memcpy(bytes, name, length);
    memset(entry, 0, sizeof(*entry));
    return fs_request(fs, FUSE_LOOKUP, node, bytes, length, entry, sizeof(*entry));
}

static int fs_open_file(struct fs *fs, uint64_t node)
{
    static struct fuse_open_in in;
    static struct fuse_open_out out;
    return fs_request(fs, FUSE_OPEN, node, &in, sizeof(in), &out, sizeof(out));
}

static enum verdict fs_start(struct fs *fs)
{
    static struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION,
                                     .minor = FUSE_KERNEL_MINOR_VERSION};
    static struct fuse_init_out out;
    struct virtio_device *device = virtio_device_by_id(VIRTIO_ID_FS, 0);
    REQUIRE(device, "no file system device");
    *fs = (struct fs){0};
    virtqueue_create(&fs->queue, device, REQUEST_QUEUE);
    REQUIRE(virtio_device_negotiate(device, VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)) &&
                virtqueue_start(&fs->queue, false),
            "the device does not start");
    virtio_device_ready(device);
    int error = fs_request(fs, FUSE_INIT, 0, &in, sizeof(in), &out, sizeof(out));
    REQUIRE(error == 0, "FUSE_INIT: %x", (unsigned)error);
    return VERDICT_PASSED;
}

/* Whatever a name leads to, it is not the file beside the folder. */
static enum verdict name_stays_inside(struct fs *fs, const char *name, uint64_t root_inode)
{
    static struct fuse_entry_out entry, beyond;
    int error = fs_lookup(fs, FUSE_ROOT_ID, name, &entry);
    REQUIRE(error <= 0, "%s: no answer", name);
    if (error < 0)
        return VERDICT_PASSED;
    REQUIRE(entry.attr.ino == root_inode, "%s leads to inode %lu", name, entry.attr.ino);
    REQUIRE(fs_lookup(fs, entry.nodeid, "secret", &beyond) == -ENOENT_NUMBER,
            "%s: the file beside the folder is found", name);
    return VERDICT_PASSED;
}

static enum verdict fs_escape(void)
{
    static const char *const NAMES[] = {
        "..",
        "../secret",
        "../..",
        "inside/../../secret",
        "/etc/passwd",
        "inside/../..",
        "relative/../secret",
        "./../..",
        "",
    };
    static struct fuse_entry_out entry;
    static struct fuse_getattr_in getattr;
    static struct fuse_attr_out root;
    struct fs fs;
    REQUIRE_PASSED(fs_start(&fs));
    REQUIRE(fs_request(&fs, FUSE_GETATTR, FUSE_ROOT_ID, &getattr, sizeof(getattr), &root,
                       sizeof(root)) == 0,
            "the folder has no attributes");
    for (unsigned i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        REQUIRE_PASSED(name_stays_inside(&fs, NAMES[i], root.attr.ino));
    static const char *const LINKS[] = {"absolute", "relative"};
    for (unsigned i = 0; i < sizeof(LINKS) / sizeof(LINKS[0]); i++) {
        REQUIRE(fs_lookup(&fs, FUSE_ROOT_ID, LINKS[i], &entry) == 0, "no %s", LINKS[i]);
        REQUIRE(fs_open_file(&fs, entry.nodeid) < 0, "%s can be opened", LINKS[i]);
        REQUIRE(fs_lookup(&fs, entry.nodeid, "x", &entry) < 0, "%s is a folder", LINKS[i]);
    }
    REQUIRE(fs_lookup(&fs, UNKNOWN_NODE, "given", &entry) < 0, "an unknown node is found");
    REQUIRE(fs_open_file(&fs, UNKNOWN_NODE) < 0, "an unknown node is opened");
    REQUIRE(fs_request(&fs, 0xffff, FUSE_ROOT_ID, "", 1, NULL, 0) < 0, "an unknown request");
    REQUIRE(fs_lookup(&fs, FUSE_ROOT_ID, "given", &entry) == 0, "the folder is lost");
    REQUIRE(fs_open_file(&fs, entry.nodeid) == 0, "its file cannot be opened");
    return test_passed("requests=%lu", fs.unique);
}

static const struct test tests[] = {
    {"fs-escape", fs_escape},
};

const struct test_suite test_suite_fs = TEST_SUITE(tests);
