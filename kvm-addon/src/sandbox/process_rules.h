#ifndef TSVM_PROCESS_RULES_H
#define TSVM_PROCESS_RULES_H

#include "filter.h"
#include "sandbox_types.h"

/*
 * What no thread of the process may do any more: rows for everything else than SECCOMP_RET_ALLOW.
 * `own` holds the rows that depend on the process; it lives as long as the filter is used.
 */
struct process_filter {
    struct filter_row own[8];
    struct filter filter;
};

void process_filter_make(struct process_filter *own, const struct sandbox_needs *needs);

#endif
