#include "program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const char *error_text(int number)
{
    switch (number) {
    case ENOENT:
        return "no such file or directory";
    case EACCES:
        return "permission denied";
    case EISDIR:
        return "is a directory";
    case ENOTDIR:
        return "not a directory";
    case ENOEXEC:
        return "exec format error";
    default:
        return strerror(number);
    }
}

static const char *variable_value(const struct text_list *variables, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < variables->count; i++) {
        if (strncmp(variables->items[i], name, length) == 0 && variables->items[i][length] == '=')
            return variables->items[i] + length + 1;
    }
    return NULL;
}

// 0 if the file may be a program, or why not: -errno.
static int check_program(const char *path)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    return (status.st_mode & 0111) != 0 ? 0 : -EACCES;
}

static int fail_lookup(const char *name, int number, struct failure *failure)
{
    bool is_missing = number == ENOENT || number == ENOTDIR;
    return fail(failure, is_missing ? ERROR_PROGRAM_NOT_FOUND : ERROR_PROGRAM_NOT_EXECUTABLE,
                number, is_missing ? "exec: \"%s\": stat %s: %s" : "exec: \"%s\": %.0s%s", name,
                name, error_text(number));
}

// Looks a name without "/" up in PATH.
static int search(const char *name, const char *search_path, char *path, struct failure *failure)
{
    bool is_denied = false;
    while (*search_path != 0) {
        size_t length = strcspn(search_path, ":");
        int size = snprintf(path, PATH_MAX, "%.*s/%s", length > 0 ? (int)length : 1,
                            length > 0 ? search_path : ".", name);
        int result = size < PATH_MAX ? check_program(path) : -ENAMETOOLONG;
        if (result == 0)
            return 0;
        is_denied |= result == -EACCES;
        search_path += length;
        search_path += *search_path == ':';
    }
    if (is_denied)
        return fail_lookup(name, EACCES, failure);
    return fail(failure, ERROR_PROGRAM_NOT_FOUND, ENOENT,
                "exec: \"%s\": executable file not found in $PATH", name);
}

static int find_program(const struct process_spec *spec, char *path, struct failure *failure)
{
    const char *name = spec->arguments.items[0];
    if (strchr(name, '/') == NULL) {
        const char *search_path = variable_value(&spec->variables, "PATH");
        return search(name, search_path != NULL ? search_path : DEFAULT_PATH, path, failure);
    }
    int result = check_program(name);
    if (result < 0)
        return fail_lookup(name, -result, failure);
    snprintf(path, PATH_MAX, "%s", name);
    return 0;
}

static int add_home(struct text_list *variables, const char *home, struct failure *failure)
{
    static char variable[PATH_MAX];
    const char *value = variable_value(variables, "HOME");
    if (value != NULL && *value != 0)
        return 0;
    snprintf(variable, sizeof variable, "HOME=%s", home);
    for (size_t i = 0; i < variables->count; i++) {
        if (strcmp(variables->items[i], "HOME=") == 0) {
            variables->items[i] = variable;
            return 0;
        }
    }
    return text_list_add(variables, variable, failure);
}

int program_execute(const struct process_spec *spec, const char *home, struct failure *failure)
{
    static char path[PATH_MAX];
    struct text_list variables = spec->variables;
    if (find_program(spec, path, failure) < 0 || add_home(&variables, home, failure) < 0)
        return -1;
    execve(path, (char *const *)spec->arguments.items, (char *const *)variables.items);
    int number = errno;
    return fail(failure, number == ENOENT ? ERROR_PROGRAM_NOT_FOUND : ERROR_PROGRAM_NOT_EXECUTABLE,
                number, "exec %s: %s", path, error_text(number));
}
