// Users and groups, as the container's /etc/passwd and /etc/group say.
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "fields.h"

#define GROUPS_MAX 256

struct identity {
    uid_t user_id;
    gid_t group_id;
    gid_t groups[GROUPS_MAX];
    size_t group_count;
    char home[PATH_MAX];
};

// Finds "user", "user:group", names or numbers; empty: root. Reads the current root's files.
int identity_find(const char *user, const struct text_list *extra_groups, struct identity *identity,
                  struct failure *failure);
// The name of a user in an open passwd file, or the number.
void identity_user_name(uid_t user_id, char *name, size_t size);
