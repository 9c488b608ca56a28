// FRAME_START: what to start and how.
#pragma once

#include <stdbool.h>
#include <sys/ioctl.h>

#include "fields.h"

struct resource_limit {
    int number; // RLIMIT_*
    uint64_t soft;
    uint64_t hard;
};

#define RESOURCE_LIMITS_MAX 16

// Texts are the request's.
struct process_spec {
    bool in_guest;
    bool has_terminal;
    bool has_stdin;
    bool no_new_privileges;
    bool seccomp;
    struct bytes seccomp_filter; // of the host's, instead of `seccomp`
    bool has_oom_score_adjust;
    int oom_score_adjust;
    uint64_t capabilities;
    struct text_list arguments;
    struct text_list variables;
    struct text_list groups;
    const char *directory;
    const char *user;
    struct winsize window;
    struct resource_limit limits[RESOURCE_LIMITS_MAX];
    size_t limit_count;
};

// 0, or -1 with the failure; free it in both cases.
int process_spec_parse(struct bytes request, struct process_spec *spec, struct failure *failure);
void process_spec_free(struct process_spec *spec);
