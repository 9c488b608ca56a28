#include "landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the kernel's headers of 6.1 do not have yet. */
#define ACCESS_TRUNCATE (1ull << 14)  /* version 3 */
#define ACCESS_IOCTL_DEV (1ull << 15) /* version 5 */
#define NET_BIND_TCP (1ull << 0)      /* version 4 */
#define NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ull << 0) /* version 6 */
#define SCOPE_SIGNAL (1ull << 1)

struct ruleset_attributes {
    uint64_t files;
    uint64_t net;
    uint64_t scoped;
};

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE (READ | LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE)
/* Rights that only folders can have. */
#define FOLDER                                                                                     \
    (LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |                                 \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |  \
     LANDLOCK_ACCESS_FS_MAKE_SOCK)

static const uint64_t RIGHTS[] = {
    [SANDBOX_READ] = READ,
    [SANDBOX_WRITE] = WRITE,
    [SANDBOX_TERMINAL] = WRITE | ACCESS_IOCTL_DEV,
    [SANDBOX_OWN] = WRITE | FOLDER,
    [SANDBOX_EMPTY_FOLDERS] = LANDLOCK_ACCESS_FS_REMOVE_DIR,
    [SANDBOX_CONNECT] = 0, /* Landlock does not decide about that */
};

int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return version < 0 ? -errno : (int)version;
}

/* All that this version of the kernel can deny. Returns the size of the attributes that it knows.
 */
static size_t attributes_make(struct ruleset_attributes *attributes, int version)
{
    *attributes = (struct ruleset_attributes){.files = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1};
    if (version >= 2)
        attributes->files |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        attributes->files |= ACCESS_TRUNCATE;
    if (version >= 5)
        attributes->files |= ACCESS_IOCTL_DEV;
    if (version >= 4)
        attributes->net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (version >= 6)
        attributes->scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    return version >= 6   ? sizeof *attributes
           : version >= 4 ? offsetof(struct ruleset_attributes, scoped)
                          : offsetof(struct ruleset_attributes, net);
}

static int rule_add(int ruleset, const struct sandbox_path *path, uint64_t handled)
{
    if (RIGHTS[path->access] == 0)
        return 0;
    struct landlock_path_beneath_attr rule = {
        .allowed_access = RIGHTS[path->access] & handled,
        .parent_fd = open(path->path, O_PATH | O_CLOEXEC),
    };
    if (rule.parent_fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
    struct stat status;
    int error = fstat(rule.parent_fd, &status) < 0 ? -errno : 0;
    if (!S_ISDIR(status.st_mode))
        rule.allowed_access &= ~(uint64_t)FOLDER;
    if (error == 0 &&
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        error = -errno;
    close(rule.parent_fd);
    return error;
}

int landlock_create(const struct sandbox_path *paths, size_t count)
{
    int version = landlock_version();
    if (version < 0)
        return version;
    struct ruleset_attributes attributes;
    size_t size = attributes_make(&attributes, version);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
    if (ruleset < 0)
        return -errno;
    for (size_t i = 0; i < count; i++) {
        int error = rule_add(ruleset, &paths[i], attributes.files);
        if (error < 0) {
            close(ruleset);
            return error;
        }
    }
    return ruleset;
}

int landlock_enter(int ruleset)
{
    return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}
