/*
 * Runs the parts in turn. As PID 1 it takes from the kernel's command line `soak_rounds=N` (1) and
 * `soak_only=NAME,NAME`, prints `ok NAME` or `not ok NAME` for each part and at last
 * `soak: rounds=N failures=N`, and switches the machine off (`soak_resets=1`: resets it).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "soak.h"

static const struct part {
    const char *name;
    void (*run)(void);
} parts[] = {
    {"copy-on-write", soak_copy_on_write},
    {"mappings", soak_mappings},
    {"protection", soak_protection},
    {"files", soak_files},
    {"code", soak_code},
    {"code-of-others", soak_code_of_others},
    {"vectors", soak_vectors},
    {"vectors-in-signals", soak_vectors_in_signals},
    {"threads", soak_threads},
    {"shootdown", soak_shootdown},
    {"shootdown-remap", soak_shootdown_remap},
    {"signals", soak_signals},
    {"exceptions", soak_exceptions},
    {"single-step", soak_single_step},
    {"breakpoints", soak_breakpoints},
    {"compat", soak_compat},
    {"processes", soak_processes},
};

/* Whether `name` is in a comma-separated list; an empty list contains all. */
static bool is_chosen(const char *name, const char *list)
{
    size_t length = strlen(name);

    if (!list || !*list)
        return true;
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, name, length) && (at[length] == ',' || !at[length]))
            return true;
    }
    return false;
}

static void mount_file_systems(void)
{
    mkdir("/proc", 0755);
    mkdir("/tmp", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL) && errno != EBUSY)
        perror("mount /proc");
    if (mount("tmpfs", "/tmp", "tmpfs", 0, NULL) && errno != EBUSY)
        perror("mount /tmp");
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

extern volatile unsigned *soak_failures;

static void run_part(const struct part *part)
{
    unsigned before = *soak_failures;
    double start = now();

    part->run();
    printf("%s %s %.0f ms\n", *soak_failures == before ? "ok" : "not ok", part->name,
           (now() - start) * 1e3);
}

int main(void)
{
    const char *rounds_word = getenv("soak_rounds");
    unsigned rounds = rounds_word ? (unsigned)atoi(rounds_word) : 1;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getpid() == 1)
        mount_file_systems();
    soak_failures = soak_shared(sizeof *soak_failures);
    soak_catch_faults();
    printf("soak: %u CPUs%s%s\n", soak_cpus(), soak_has_avx() ? " avx" : "",
           soak_has_avx512() ? " avx512" : "");
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            if (is_chosen(parts[i].name, getenv("soak_only")))
                run_part(&parts[i]);
        }
    }
    printf("soak: rounds=%u failures=%u\n", rounds, *soak_failures);
    fflush(stdout);
    if (getpid() == 1) {
        sync();
        reboot(getenv("soak_resets") ? RB_AUTOBOOT : RB_POWER_OFF);
    }
    return *soak_failures != 0;
}
