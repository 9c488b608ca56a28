#include "process_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "identity.h"
#include "path_request.h"
#include "protocol.h"
#include "vsock.h"

#define GROUP_PREFIX "0::/container"
#define TEXT_BYTES 4096
#define ARGUMENTS_BYTES_MAX 16384
#define TICKS_PER_SECOND 100 // USER_HZ of x86
#define PAGE_BYTES 4096

// One process, by its PID in the guest.
struct row {
    int guest_pid;
    int pid; // in the container
    int guest_parent;
    unsigned user_id;
    char state;
    int terminal;
    uint64_t started, cpu; // in ticks
    uint64_t virtual_bytes, resident_pages;
};

static ssize_t read_file(int folder_fd, const char *pid, const char *file, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", pid, file);
    int fd = openat(folder_fd, path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = 0;
    return length;
}

// The last of the PIDs, the one in the innermost namespace, and the effective user.
static void parse_status(const char *text, struct row *row)
{
    const char *uids = strstr(text, "\nUid:");
    const char *pids = strstr(text, "\nNSpid:");
    if (uids != NULL)
        sscanf(uids, "\nUid: %*u %u", &row->user_id);
    if (pids == NULL)
        return;
    // The guest's PID, then the container's.
    int outer, inner;
    int count = sscanf(pids, "\nNSpid: %d %d", &outer, &inner);
    row->pid = count == 2 ? inner : outer;
}

static bool parse_stat(const char *text, struct row *row)
{
    // The name may have anything in it, but what follows has no parentheses.
    const char *rest = strrchr(text, ')');
    uint64_t user_time, system_time;
    if (rest == NULL ||
        sscanf(rest,
               ") %c %d %*d %*d %d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
               " %*d %*d %*d %*d %*d %*d %" SCNu64 " %" SCNu64 " %" SCNu64,
               &row->state, &row->guest_parent, &row->terminal, &user_time, &system_time,
               &row->started, &row->virtual_bytes, &row->resident_pages) != 8)
        return false;
    row->cpu = user_time + system_time;
    return true;
}

static bool read_row(int proc_fd, const char *pid, struct row *row)
{
    char text[TEXT_BYTES];
    *row = (struct row){.guest_pid = atoi(pid)};
    if (read_file(proc_fd, pid, "cgroup", text, sizeof text) < 0 ||
        strncmp(text, GROUP_PREFIX, strlen(GROUP_PREFIX)) != 0)
        return false;
    if (read_file(proc_fd, pid, "status", text, sizeof text) < 0)
        return false;
    parse_status(text, row);
    return read_file(proc_fd, pid, "stat", text, sizeof text) > 0 && parse_stat(text, row);
}

static size_t read_rows(int proc_fd, struct row **rows)
{
    int list_fd = openat(proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = list_fd < 0 ? NULL : fdopendir(list_fd);
    struct dirent *entry;
    size_t count = 0, capacity = 0;
    while (list != NULL && (entry = readdir(list)) != NULL) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        if (count == capacity) {
            capacity = capacity * 2 + 64;
            struct row *larger = realloc(*rows, capacity * sizeof **rows);
            if (larger == NULL)
                break;
            *rows = larger;
        }
        count += read_row(proc_fd, entry->d_name, &(*rows)[count]);
    }
    if (list != NULL)
        closedir(list);
    return count;
}

static int parent_of(const struct row *rows, size_t count, const struct row *row)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].guest_pid == row->guest_parent)
            return rows[i].pid;
    }
    return 0;
}

static int send_row(int fd, int proc_fd, const struct row *row, int parent)
{
    static char arguments[ARGUMENTS_BYTES_MAX];
    char pid[16], user[64], state[2] = {row->state, 0};
    struct message message = {0};
    snprintf(pid, sizeof pid, "%d", row->guest_pid);
    ssize_t length = read_file(proc_fd, pid, "cmdline", arguments, sizeof arguments);
    if (length <= 0) {
        // A kernel thread or a zombie: its name in brackets.
        char name[32];
        read_file(proc_fd, pid, "comm", name, sizeof name);
        name[strcspn(name, "\n")] = 0;
        length = snprintf(arguments, sizeof arguments, "[%s]", name) + 1;
    }
    identity_user_name(row->user_id, user, sizeof user);
    message_begin(&message, FRAME_DATA);
    message_number(&message, PROCESS_PID, (uint64_t)row->pid);
    message_number(&message, PROCESS_PARENT, (uint64_t)parent);
    message_number(&message, PROCESS_USER_ID, row->user_id);
    message_text(&message, PROCESS_USER, user);
    message_text(&message, PROCESS_STATE, state);
    message_number(&message, PROCESS_TERMINAL, (uint32_t)row->terminal);
    message_number(&message, PROCESS_STARTED_MS, row->started * 1000 / TICKS_PER_SECOND);
    message_number(&message, PROCESS_CPU_MS, row->cpu * 1000 / TICKS_PER_SECOND);
    message_number(&message, PROCESS_RESIDENT_BYTES, row->resident_pages * PAGE_BYTES);
    message_number(&message, PROCESS_VIRTUAL_BYTES, row->virtual_bytes);
    message_bytes(&message, PROCESS_ARGUMENTS, arguments, (size_t)length);
    int result = message_end(&message);
    if (result == 0)
        result = write_all(fd, message.data, message.length);
    message_free(&message);
    return result;
}

int process_list(int fd, struct bytes request, struct message *reply, struct failure *failure)
{
    struct row *rows = NULL;
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)request;
    (void)reply;
    if (proc_fd < 0)
        return fail_call(failure, "cannot open /proc");
    // For the names of users; /proc stays open.
    if (enter_container_root(failure) < 0)
        return -1;
    size_t count = read_rows(proc_fd, &rows);
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = send_row(fd, proc_fd, &rows[i], parent_of(rows, count, &rows[i]));
    free(rows);
    close(proc_fd);
    return result == 0 ? 0 : fail(failure, ERROR_GUEST_FAILED, -result, "the host has gone");
}
