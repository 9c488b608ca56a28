#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cgroup.h"
#include "container.h"
#include "mounts.h"
#include "names.h"
#include "network.h"
#include "overlay.h"
#include "protocol.h"
#include "published.h"
#include "restored.h"
#include "root_spec.h"

#define KERNEL_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

// Linux reads an EROFS of 512-byte blocks block by block unless its metadata is in the page cache.
static void read_metadata_ahead(uint64_t bytes)
{
    int fd = open("/dev/vda", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    readahead(fd, 0, bytes);
    close(fd);
}

static int mount_image(uint64_t metadata_bytes, struct failure *failure)
{
    read_metadata_ahead(metadata_bytes);
    if (mount("/dev/vda", OVERLAY_IMAGE, "erofs", MS_RDONLY, NULL) < 0)
        return fail_call(failure, "cannot mount the image");
    return 0;
}

// The root of the overlay has its owner and mode from the upper folder. Both folders may be on the
// disk from the start.
static int make_upper(struct failure *failure)
{
    struct stat upper, root;
    if (lstat(OVERLAY_UPPER, &upper) == 0) {
        if ((upper.st_mode & 07777) != UPPER_UNUSED_MODE)
            return 0;
    } else if ((mkdir(OVERLAY_WORK, 0700) < 0 && errno != EEXIST) ||
               mkdir(OVERLAY_UPPER, UPPER_UNUSED_MODE) < 0) {
        return fail_call(failure, "cannot make the folders of the overlay");
    }
    if (stat(OVERLAY_IMAGE, &root) < 0 || chown(OVERLAY_UPPER, root.st_uid, root.st_gid) < 0 ||
        chmod(OVERLAY_UPPER, root.st_mode & 07777) < 0)
        return fail_call(failure, "cannot copy the root folder's owner");
    return 0;
}

// What Docker's containers have beyond their images, unless the image has it.
static const struct base_entry {
    const char *path;
    bool is_folder;
    const char *link;
} base_entries[] = {
    {"/dev", true, NULL},
    {"/etc", true, NULL},
    {"/proc", true, NULL},
    {"/sys", true, NULL},
    {"/.dockerenv", false, NULL},
    {"/etc/hostname", false, NULL},
    {"/etc/hosts", false, NULL},
    {"/etc/resolv.conf", false, NULL},
    {"/etc/mtab", false, "/proc/mounts"},
};

// A folder of the base hides the owner, mode and time of the image's.
static void make_base_folder(const char *path, const struct stat *status)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, status->st_mtim};
    mkdir(path, 0755);
    (void)!chown(path, status->st_uid, status->st_gid);
    chmod(path, status->st_mode & 07777);
    utimensat(AT_FDCWD, path, times, 0);
}

// A layer of its own below the container's, so that none of it counts as the container's change.
static int make_base(struct failure *failure)
{
    struct stat image, folder = {.st_mode = 0755};
    for (size_t i = 0; i < sizeof base_entries / sizeof base_entries[0]; i++) {
        const struct base_entry *entry = &base_entries[i];
        char path[64], image_path[64];
        snprintf(path, sizeof path, OVERLAY_BASE "%s", entry->path);
        snprintf(image_path, sizeof image_path, OVERLAY_IMAGE "%s", entry->path);
        bool is_there = lstat(image_path, &image) == 0;
        // Whatever the image has stays, but /etc is needed for the others.
        if (entry->is_folder) {
            if (!is_there || S_ISDIR(image.st_mode))
                make_base_folder(path, is_there ? &image : &folder);
        } else if (!is_there) {
            int result =
                entry->link != NULL ? symlink(entry->link, path) : mknod(path, S_IFREG | 0644, 0);
            if (result < 0 && errno != ENOENT)
                return fail_call(failure, "cannot make %s", path);
        }
    }
    return 0;
}

// No table of the disk's own blocks, which is for damaged file systems; and no thread that reads
// the maps of all blocks ahead.
#define WRITABLE_OPTIONS "discard,noblock_validity,noinit_itable,no_prefetch_block_bitmaps"

static bool has_writable;

static int mount_writable_disk(struct failure *failure)
{
    if (has_writable)
        return 0;
    if (mount("/dev/vdb", OVERLAY_WRITABLE, "ext4", 0, WRITABLE_OPTIONS) < 0)
        return fail_call(failure, "cannot mount the writable layer");
    has_writable = true;
    return 0;
}

int root_mount_writable(struct failure *failure)
{
    return restored_is_disk("/dev/vdb") ? mount_writable_disk(failure) : 0;
}

void root_forget_rehearsal(void)
{
    if (!has_writable)
        return;
    // overlayfs has made it.
    rmdir(OVERLAY_WORK "/work");
    (void)!chown(OVERLAY_UPPER, 0, 0);
    chmod(OVERLAY_UPPER, UPPER_UNUSED_MODE);
    // No container has to write it.
    sync();
}

// The image is mounted.
static int mount_root(const struct root_spec *spec, struct failure *failure)
{
    static const char *const options =
        "lowerdir=" OVERLAY_BASE ":" OVERLAY_IMAGE ",upperdir=" OVERLAY_UPPER
        ",workdir=" OVERLAY_WORK ",redirect_dir=off,metacopy=off,index=off";
    if (!spec->writable_memory && mount_writable_disk(failure) < 0)
        return -1;
    if (spec->writable_memory && mount("tmpfs", OVERLAY_WRITABLE, "tmpfs", 0, "mode=700") < 0)
        return fail_call(failure, "cannot mount the writable layer");
    if (make_upper(failure) < 0 || make_base(failure) < 0)
        return -1;
    if (mount("overlay", CONTAINER_ROOT, "overlay", 0, options) < 0)
        return fail_call(failure, "cannot join the image and the writable layer");
    return 0;
}

static const struct node {
    const char *path;
    unsigned minor;
    unsigned major;
} nodes[] = {
    {CONTAINER_ROOT "/dev/null", 3, 1},    {CONTAINER_ROOT "/dev/zero", 5, 1},
    {CONTAINER_ROOT "/dev/full", 7, 1},    {CONTAINER_ROOT "/dev/random", 8, 1},
    {CONTAINER_ROOT "/dev/urandom", 9, 1}, {CONTAINER_ROOT "/dev/tty", 0, 5},
};
static const char *const links[][2] = {
    {"/proc/self/fd", CONTAINER_ROOT "/dev/fd"},
    {"/proc/self/fd/0", CONTAINER_ROOT "/dev/stdin"},
    {"/proc/self/fd/1", CONTAINER_ROOT "/dev/stdout"},
    {"/proc/self/fd/2", CONTAINER_ROOT "/dev/stderr"},
    {"/proc/kcore", CONTAINER_ROOT "/dev/core"},
    {"pts/ptmx", CONTAINER_ROOT "/dev/ptmx"},
};
static const char *const folders[] = {
    CONTAINER_ROOT "/dev/pts",
    CONTAINER_ROOT "/dev/shm",
    CONTAINER_ROOT "/dev/mqueue",
};

static int make_devices(struct failure *failure)
{
    if (mount("tmpfs", CONTAINER_ROOT "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME,
              "mode=755,size=65536k") < 0)
        return fail_call(failure, "cannot mount /dev");
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0)
            return fail_call(failure, "cannot make %s", nodes[i].path);
    }
    return 0;
}

static int mount_devices(const struct root_spec *spec, struct failure *failure)
{
    char shm_options[64];
    if (!container.privileged) {
        if (make_devices(failure) < 0)
            return -1;
    } else if (mount("devtmpfs", CONTAINER_ROOT "/dev", "devtmpfs", MS_NOSUID, NULL) < 0) {
        return fail_call(failure, "cannot mount /dev");
    }
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        mkdir(folders[i], 0755);
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        unlink(links[i][1]);
        if (symlink(links[i][0], links[i][1]) < 0)
            return fail_call(failure, "cannot make %s", links[i][1]);
    }
    snprintf(shm_options, sizeof shm_options, "mode=1777,size=%llu",
             (unsigned long long)spec->shm_bytes);
    if (mount("devpts", CONTAINER_ROOT "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
              "newinstance,ptmxmode=0666,mode=0620,gid=5") < 0 ||
        mount("shm", CONTAINER_ROOT "/dev/shm", "tmpfs", KERNEL_FLAGS, shm_options) < 0)
        return fail_call(failure, "cannot mount a file system of /dev");
    return 0;
}

// The image may have something else in the place of a folder, such as a link.
static int check_mount_points(struct failure *failure)
{
    static const char *const points[] = {CONTAINER_ROOT "/proc", CONTAINER_ROOT "/sys",
                                         CONTAINER_ROOT "/dev"};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        struct stat status;
        if (lstat(points[i], &status) < 0 || !S_ISDIR(status.st_mode))
            return fail(failure, ERROR_GUEST_FAILED, ENOTDIR, "the image's %s is not a folder",
                        points[i] + strlen(CONTAINER_ROOT));
    }
    return 0;
}

static int mount_kernel_file_systems(const struct root_spec *spec, struct failure *failure)
{
    unsigned long flags = KERNEL_FLAGS | (container.privileged ? 0 : MS_RDONLY);
    if (check_mount_points(failure) < 0)
        return -1;
    if (mount("sysfs", CONTAINER_ROOT "/sys", "sysfs", flags, NULL) < 0)
        return fail_call(failure, "cannot mount /sys");
    return mount_devices(spec, failure);
}

static int await_disks(const struct root_spec *spec, struct failure *failure)
{
    if (restored_await_disk("/dev/vda", failure) < 0)
        return -1;
    return spec->writable_memory ? 0 : restored_await_disk("/dev/vdb", failure);
}

static int copy_program(const char *program)
{
    char path[64];
    int from = open(program, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, OVERLAY_IMAGE "%s", program);
    int to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    while (from >= 0 && to >= 0 && sendfile(to, from, NULL, 1 << 20) > 0)
        ;
    close(from);
    return to < 0 ? -1 : close(to);
}

int root_assemble(struct bytes request, struct message *reply, struct failure *failure)
{
    static bool attempted;
    static struct root_spec spec;
    (void)reply;
    if (attempted)
        return fail(failure, ERROR_WRONG_STATE, 0, "the root is assembled once per machine");
    attempted = true;
    if (root_spec_parse(request, &spec, failure) < 0)
        return -1;
    if (network_configure(spec.interfaces, spec.interface_count, failure) < 0 ||
        await_disks(&spec, failure) < 0 || mount_image(spec.metadata_bytes, failure) < 0 ||
        mount_root(&spec, failure) < 0 || mount_kernel_file_systems(&spec, failure) < 0 ||
        mounts_apply(&spec, failure) < 0 || published_open(spec.published_ports, failure) < 0 ||
        (spec.has_names && names_start(&spec.names, failure) < 0) ||
        cgroup_set_limits(&spec.limits, failure) < 0)
        return -1;
    container.assembled = true;
    return 0;
}

int root_rehearse(const char *program, struct failure *failure)
{
    static struct root_spec spec = {.shm_bytes = 1 << 20};
    spec.writable_memory = !has_writable;
    if (mount("tmpfs", OVERLAY_IMAGE, "tmpfs", 0, "mode=755") < 0 ||
        mount("tmpfs", OVERLAY_BASE, "tmpfs", 0, "mode=755") < 0)
        return fail_call(failure, "cannot mount an image");
    if (copy_program(program) < 0)
        return fail_call(failure, "cannot copy %s", program);
    return mount_root(&spec, failure) < 0 ? -1 : mount_kernel_file_systems(&spec, failure);
}
