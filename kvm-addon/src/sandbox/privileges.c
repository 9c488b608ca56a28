#include "privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The C library's wrappers change all threads at once, by signals of their own. */
static int set_user(uint32_t user)
{
    if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, user, user, user) < 0 ||
        syscall(SYS_setresuid, user, user, user) < 0)
        return -errno;
    return 0;
}

static int set_capabilities(uint32_t wanted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = wanted, .permitted = wanted}};
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int namespace_join(int fd, int kind)
{
    return fd >= 0 && setns(fd, kind) < 0 ? -errno : 0;
}

int privileges_prepare(struct privileges *privileges, const struct sandbox_needs *needs)
{
    privileges->user = needs->user;
    privileges->writes = needs->writes;
    struct namespaces *namespaces = &privileges->namespaces;
    namespaces->net_fd = namespaces->ipc_fd = namespaces->view.fd = -1;
    return needs->user == 0 ? 0 : namespaces_take(namespaces, needs->paths, needs->path_count);
}

int privileges_drop(const struct privileges *privileges)
{
    /* A thread that one without privileges has just started. */
    if (privileges->user == 0 || (uint32_t)syscall(SYS_geteuid) == privileges->user)
        return 0;
    int error = namespace_join(privileges->namespaces.net_fd, CLONE_NEWNET);
    if (error == 0)
        error = namespace_join(privileges->namespaces.ipc_fd, CLONE_NEWIPC);
    if (error == 0)
        error = view_enter(&privileges->namespaces.view);
    /* Capabilities are set below, and access(2) heeds them although no user is root. */
    if (error == 0 && prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0)
        error = -errno;
    if (error == 0)
        error = set_user(privileges->user);
    /* Landlock decides which files can be opened; of those, some may be readable for root alone. */
    uint32_t kept = 1u << CAP_DAC_READ_SEARCH;
    if (privileges->writes)
        kept |= 1u << CAP_DAC_OVERRIDE;
    return error < 0 ? error : set_capabilities(kept);
}

void privileges_destroy(struct privileges *privileges)
{
    namespaces_close(&privileges->namespaces);
}
