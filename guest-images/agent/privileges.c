#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "seccomp.h"

// Drops from the bounding set what the process must never have.
static int bound_capabilities(uint64_t allowed, struct failure *failure)
{
    for (unsigned capability = 0; capability <= CAP_LAST_CAP; capability++) {
        if ((allowed >> capability & 1) == 0 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            return fail_call(failure, "cannot drop capability %u", capability);
    }
    return 0;
}

static int set_capabilities(uint64_t allowed, struct failure *failure)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    uint64_t mask = allowed & ((1ULL << (CAP_LAST_CAP + 1)) - 1);
    for (int i = 0; i < 2; i++) {
        uint32_t word = (uint32_t)(mask >> (32 * i));
        // Inheritable ones would come to life in programs whose files inherit them.
        data[i] = (struct __user_cap_data_struct){.effective = word, .permitted = word};
    }
    if (syscall(SYS_capset, &header, data) < 0)
        return fail_call(failure, "cannot set the capabilities");
    return 0;
}

static int set_user(const struct identity *identity, struct failure *failure)
{
    if (setgroups(identity->group_count, identity->groups) < 0)
        return fail_call(failure, "cannot set the groups");
    if (setresgid(identity->group_id, identity->group_id, identity->group_id) < 0)
        return fail_call(failure, "cannot set the group %u", identity->group_id);
    if (setresuid(identity->user_id, identity->user_id, identity->user_id) < 0)
        return fail_call(failure, "cannot set the user %u", identity->user_id);
    return 0;
}

int privileges_apply(const struct process_spec *spec, const struct identity *identity,
                     struct failure *failure)
{
    if (spec->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail_call(failure, "cannot set no_new_privs");
    // While there are privileges: without no_new_privs this needs CAP_SYS_ADMIN.
    if (spec->seccomp && seccomp_apply(spec->capabilities, failure) < 0)
        return -1;
    if (spec->seccomp_filter.length != 0 && seccomp_apply_filter(spec->seccomp_filter, failure) < 0)
        return -1;
    if (bound_capabilities(spec->capabilities, failure) < 0 || set_user(identity, failure) < 0)
        return -1;
    // Other users than root have lost theirs by the change.
    return identity->user_id == 0 ? set_capabilities(spec->capabilities, failure) : 0;
}
