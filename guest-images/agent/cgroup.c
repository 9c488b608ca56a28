#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "container.h"
#include "protocol.h"

#define ROOT_GROUP "/cgroup"
#define GROUP ROOT_GROUP "/container"
#define CPU_PERIOD_MICROS 100000
#define MICROS_PER_SECOND 1000000
// The event loop stands still meanwhile: at most a second.
#define FREEZE_POLL_NS 1000000
#define FREEZE_POLLS_MAX 1000

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct limits *limits = target;
    switch (field->tag) {
    case LIMITS_MEMORY_BYTES:
        return field_number(field, &limits->memory_bytes, failure);
    case LIMITS_CPU_MICROS:
        return field_number_max(field, UINT32_MAX, &limits->cpu_micros, failure);
    case LIMITS_CPU_WEIGHT:
        return field_number(field, &limits->cpu_weight, failure);
    case LIMITS_CPUSET:
        return field_text(field, &limits->cpuset, failure);
    case LIMITS_PIDS:
        return field_number(field, &limits->pids, failure);
    default:
        return field_unknown(field, "limits", failure);
    }
}

int limits_parse(struct bytes fields, struct limits *limits, struct failure *failure)
{
    *limits = (struct limits){.cpuset = ""};
    return fields_take(fields, parse_field, limits, failure);
}

static int write_file(int folder_fd, const char *name, const char *text)
{
    int fd = openat(folder_fd, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return result;
}

int cgroup_open(void)
{
    mkdir(ROOT_GROUP, 0755);
    if (mount("cgroup2", ROOT_GROUP, "cgroup2", 0, NULL) < 0)
        return -errno;
    int result = write_file(AT_FDCWD, ROOT_GROUP "/cgroup.subtree_control",
                            "+cpu +cpuset +io +memory +pids");
    if (result < 0)
        return result;
    if (mkdir(GROUP, 0755) < 0)
        return -errno;
    container.cgroup_fd = open(GROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return container.cgroup_fd < 0 ? -errno : 0;
}

static int set_limit(const char *name, const char *value, struct failure *failure)
{
    int result = write_file(container.cgroup_fd, name, value);
    if (result == 0)
        return 0;
    errno = -result;
    return fail_call(failure, "cannot set %s to %s", name, value);
}

static int set_number(const char *name, uint64_t value, struct failure *failure)
{
    char text[24] = "max";
    if (value != 0)
        snprintf(text, sizeof text, "%" PRIu64, value);
    return set_limit(name, text, failure);
}

static int set_cpus(uint64_t micros, struct failure *failure)
{
    char text[48] = "max";
    if (micros != 0)
        snprintf(text, sizeof text, "%" PRIu64 " %d",
                 micros * CPU_PERIOD_MICROS / MICROS_PER_SECOND, CPU_PERIOD_MICROS);
    return set_limit("cpu.max", text, failure);
}

static void read_file(const char *name, char *text, size_t size)
{
    int fd = openat(container.cgroup_fd, name, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = 0;
}

// A group with processes cannot go back to no set: all processors are the same.
static int set_cpuset(const char *cpuset, struct failure *failure)
{
    char present[256];
    if (*cpuset != 0)
        return set_limit("cpuset.cpus", cpuset, failure);
    read_file("cpuset.cpus", present, sizeof present);
    if (present[0] == 0 || present[0] == '\n')
        return 0;
    read_file(ROOT_GROUP "/cpuset.cpus.effective", present, sizeof present);
    return set_limit("cpuset.cpus", present, failure);
}

int cgroup_set_limits(const struct limits *limits, struct failure *failure)
{
    uint64_t weight = limits->cpu_weight != 0 ? limits->cpu_weight : 100;
    if (set_number("memory.max", limits->memory_bytes, failure) < 0 ||
        set_number("pids.max", limits->pids, failure) < 0 ||
        set_cpus(limits->cpu_micros, failure) < 0 || set_number("cpu.weight", weight, failure) < 0)
        return -1;
    return set_cpuset(limits->cpuset, failure);
}

int cgroup_change_limits(struct bytes request, struct message *reply, struct failure *failure)
{
    struct limits limits;
    (void)reply;
    if (limits_parse(request, &limits, failure) < 0)
        return -1;
    return cgroup_set_limits(&limits, failure);
}

// A process is frozen when it next leaves the kernel, so within moments.
static void await_frozen(void)
{
    static const struct timespec pause = {.tv_nsec = FREEZE_POLL_NS};
    char events[256];
    for (int i = 0; i < FREEZE_POLLS_MAX; i++) {
        read_file("cgroup.events", events, sizeof events);
        if (strstr(events, "frozen 1") != NULL)
            return;
        nanosleep(&pause, NULL);
    }
}

int cgroup_freeze(struct bytes request, struct message *reply, struct failure *failure)
{
    (void)request;
    (void)reply;
    if (set_limit("cgroup.freeze", "1", failure) < 0)
        return -1;
    await_frozen();
    return 0;
}

int cgroup_thaw(struct bytes request, struct message *reply, struct failure *failure)
{
    (void)request;
    (void)reply;
    return set_limit("cgroup.freeze", "0", failure);
}
