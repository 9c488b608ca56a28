#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol.h"

#define PASSWD "/etc/passwd"
#define GROUP "/etc/group"
// Longer lines are not looked at.
#define LINE_BYTES_MAX 65536
#define FIELDS_MAX 7

enum { PASSWD_NAME = 0, PASSWD_UID = 2, PASSWD_GID = 3, PASSWD_HOME = 5 };
enum { GROUP_NAME = 0, GROUP_GID = 2, GROUP_MEMBERS = 3 };

// The file is the image's: it may be missing, endless, or a pipe that nobody writes.
static FILE *open_table(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return fdopen(fd, "re");
    close(fd);
    return NULL;
}

// The next line's fields, of which at least `fields_min` are there.
static bool next_entry(FILE *table, char *line, char *fields[FIELDS_MAX], int fields_min)
{
    while (fgets(line, LINE_BYTES_MAX, table) != NULL) {
        char *rest = line;
        int count = 0;
        line[strcspn(line, "\n")] = 0;
        while (rest != NULL && count < FIELDS_MAX)
            fields[count++] = strsep(&rest, ":");
        if (count >= fields_min && fields[0][0] != 0 && fields[0][0] != '#')
            return true;
    }
    return false;
}

static bool parse_id(const char *text, unsigned *id)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0 || number > INT32_MAX)
        return false;
    *id = (unsigned)number;
    return true;
}

// Looks for the user by name, else by number. `name` is set to that of the entry, or "".
static int find_user(const char *user, struct identity *identity, char *name,
                     struct failure *failure)
{
    static char line[LINE_BYTES_MAX];
    char *fields[FIELDS_MAX];
    unsigned number = 0, user_id, group_id;
    bool is_number = parse_id(user, &number), is_found = false;
    FILE *table = open_table(PASSWD);
    while (!is_found && table != NULL && next_entry(table, line, fields, PASSWD_HOME + 1)) {
        if (!parse_id(fields[PASSWD_UID], &user_id) || !parse_id(fields[PASSWD_GID], &group_id))
            continue;
        // A name of digits is a number, as Docker has it.
        if (is_number ? user_id != number : strcmp(fields[PASSWD_NAME], user) != 0)
            continue;
        is_found = true;
        identity->user_id = user_id;
        identity->group_id = group_id;
        snprintf(identity->home, sizeof identity->home, "%s", fields[PASSWD_HOME]);
        snprintf(name, LOGIN_NAME_MAX, "%s", fields[PASSWD_NAME]);
    }
    if (table != NULL)
        fclose(table);
    if (is_found || is_number) {
        identity->user_id = is_found ? identity->user_id : number;
        return 0;
    }
    return fail(failure, ERROR_NO_SUCH_USER, 0,
                "unable to find user %s: no matching entries in passwd file", user);
}

static void add_group(struct identity *identity, gid_t group_id)
{
    for (size_t i = 0; i < identity->group_count; i++) {
        if (identity->groups[i] == group_id)
            return;
    }
    if (identity->group_count < GROUPS_MAX)
        identity->groups[identity->group_count++] = group_id;
}

static bool has_member(char *members, const char *name)
{
    for (char *member; (member = strsep(&members, ",")) != NULL;) {
        if (strcmp(member, name) == 0)
            return true;
    }
    return false;
}

// The groups that list the user.
static void add_groups_of(const char *name, struct identity *identity)
{
    static char line[LINE_BYTES_MAX];
    char *fields[FIELDS_MAX];
    unsigned group_id;
    FILE *table = open_table(GROUP);
    while (table != NULL && next_entry(table, line, fields, GROUP_MEMBERS + 1)) {
        if (parse_id(fields[GROUP_GID], &group_id) && has_member(fields[GROUP_MEMBERS], name))
            add_group(identity, group_id);
    }
    if (table != NULL)
        fclose(table);
}

static int find_group(const char *group, gid_t *found, struct failure *failure)
{
    static char line[LINE_BYTES_MAX];
    char *fields[FIELDS_MAX];
    unsigned group_id;
    if (parse_id(group, &group_id)) {
        *found = group_id;
        return 0;
    }
    bool is_found = false;
    FILE *table = open_table(GROUP);
    while (!is_found && table != NULL && next_entry(table, line, fields, GROUP_GID + 1)) {
        is_found = strcmp(fields[GROUP_NAME], group) == 0 && parse_id(fields[GROUP_GID], &group_id);
        *found = group_id;
    }
    if (table != NULL)
        fclose(table);
    if (is_found)
        return 0;
    return fail(failure, ERROR_NO_SUCH_GROUP, 0,
                "unable to find group %s: no matching entries in group file", group);
}

int identity_find(const char *user, const struct text_list *extra_groups, struct identity *identity,
                  struct failure *failure)
{
    char name[LOGIN_NAME_MAX] = "";
    char user_part[LOGIN_NAME_MAX];
    size_t length = strcspn(user, ":");
    const char *group = user[length] == ':' ? user + length + 1 : "";
    *identity = (struct identity){.home = "/"};
    if (length >= sizeof user_part)
        return fail(failure, ERROR_NO_SUCH_USER, 0, "the user's name is too long");
    memcpy(user_part, user, length);
    user_part[length] = 0;
    if (find_user(length > 0 ? user_part : "0", identity, name, failure) < 0)
        return -1;
    if (*group != 0) {
        // With a group of its own choice, the user has no others.
        if (find_group(group, &identity->group_id, failure) < 0)
            return -1;
    } else if (*name != 0) {
        add_groups_of(name, identity);
    }
    for (size_t i = 0; i < extra_groups->count; i++) {
        gid_t extra;
        if (find_group(extra_groups->items[i], &extra, failure) < 0)
            return -1;
        add_group(identity, extra);
    }
    // As container engines do since CVE-2022-36109: who gives the group up keeps its restrictions.
    add_group(identity, identity->group_id);
    if (identity->home[0] == 0)
        strcpy(identity->home, "/");
    return 0;
}

void identity_user_name(uid_t user_id, char *name, size_t size)
{
    struct identity identity;
    struct failure failure;
    char entry[LOGIN_NAME_MAX] = "";
    char number[16];
    snprintf(number, sizeof number, "%u", user_id);
    find_user(number, &identity, entry, &failure);
    snprintf(name, size, "%s", entry[0] != 0 ? entry : number);
}
