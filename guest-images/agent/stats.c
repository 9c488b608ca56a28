#include "stats.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "container.h"
#include "processors.h"
#include "protocol.h"

#define FILE_BYTES 8192

// Reads a file of the container's control group, or of an absolute path; "" if it is not there.
static const char *read_text(const char *name)
{
    static char text[FILE_BYTES];
    int fd = openat(container.cgroup_fd, name, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = 0;
    return text;
}

// The number behind a word at the beginning of a line.
static uint64_t value_of(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, word, length) == 0 && line[length] == ' ')
            return strtoull(line + length, NULL, 10);
    }
    return 0;
}

// The sum of the numbers behind `key=`, which stands once for each device.
static uint64_t sum_of(const char *text, const char *key)
{
    uint64_t sum = 0;
    for (const char *place = text; (place = strstr(place, key)) != NULL;) {
        place += strlen(key);
        sum += strtoull(place, NULL, 10);
    }
    return sum;
}

static void add_cpu(struct message *reply)
{
    const char *text = read_text("cpu.stat");
    message_number(reply, STATS_CPU_US, value_of(text, "usage_usec"));
    message_number(reply, STATS_CPU_USER_US, value_of(text, "user_usec"));
    message_number(reply, STATS_CPU_SYSTEM_US, value_of(text, "system_usec"));
    message_number(reply, STATS_THROTTLED_US, value_of(text, "throttled_usec"));
    message_number(reply, STATS_ONLINE_CPUS, processors_count());
}

static void add_memory(struct message *reply)
{
    struct sysinfo machine;
    uint64_t current = strtoull(read_text("memory.current"), NULL, 10);
    uint64_t inactive = value_of(read_text("memory.stat"), "inactive_file");
    // "max" is no number: 0.
    uint64_t limit = strtoull(read_text("memory.max"), NULL, 10);
    sysinfo(&machine);
    if (limit == 0)
        limit = (uint64_t)machine.totalram * machine.mem_unit;
    message_number(reply, STATS_MEMORY_BYTES, current > inactive ? current - inactive : 0);
    message_number(reply, STATS_MEMORY_LIMIT_BYTES, limit);
    message_number(reply, STATS_OOM_KILLS, value_of(read_text("memory.events"), "oom_kill"));
}

static void add_rest(struct message *reply)
{
    message_number(reply, STATS_PIDS, strtoull(read_text("pids.current"), NULL, 10));
    uint64_t limit = strtoull(read_text("pids.max"), NULL, 10);
    if (limit != 0)
        message_number(reply, STATS_PIDS_LIMIT, limit);
    const char *blocks = read_text("io.stat");
    message_number(reply, STATS_BLOCK_READ_BYTES, sum_of(blocks, "rbytes="));
    message_number(reply, STATS_BLOCK_WRITE_BYTES, sum_of(blocks, "wbytes="));
}

static void add_interfaces(struct message *reply)
{
    for (const char *line = read_text("/proc/net/dev"); line != NULL; line = strchr(line, '\n')) {
        char name[32];
        uint64_t received, received_packets, sent, sent_packets;
        line += *line == '\n';
        if (sscanf(line,
                   " %31[^:]: %" SCNu64 " %" SCNu64 " %*u %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
                   name, &received, &received_packets, &sent, &sent_packets) != 5 ||
            strcmp(name, "lo") == 0)
            continue;
        size_t start = message_nested_begin(reply, STATS_INTERFACE);
        message_text(reply, STATS_INTERFACE_NAME, name);
        message_number(reply, STATS_INTERFACE_RECEIVED_BYTES, received);
        message_number(reply, STATS_INTERFACE_RECEIVED_PACKETS, received_packets);
        message_number(reply, STATS_INTERFACE_SENT_BYTES, sent);
        message_number(reply, STATS_INTERFACE_SENT_PACKETS, sent_packets);
        message_nested_end(reply, start);
    }
}

int stats_read(struct bytes request, struct message *reply, struct failure *failure)
{
    struct timespec uptime;
    (void)request;
    (void)failure;
    clock_gettime(CLOCK_BOOTTIME, &uptime);
    message_number(reply, STATS_UPTIME_US,
                   (uint64_t)uptime.tv_sec * 1000000 + (uint64_t)uptime.tv_nsec / 1000);
    add_cpu(reply);
    add_memory(reply);
    add_rest(reply);
    add_interfaces(reply);
    return 0;
}
