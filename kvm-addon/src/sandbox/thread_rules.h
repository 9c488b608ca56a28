#ifndef TSVM_THREAD_RULES_H
#define TSVM_THREAD_RULES_H

#include "filter.h"
#include "sandbox_types.h"

/* What each kind of thread may do; everything else is SECCOMP_RET_TRAP. */
extern const struct filter THREAD_FILTERS[SANDBOX_THREAD_KINDS];

/* Names of the kinds in messages. */
extern const char *const THREAD_NAMES[SANDBOX_THREAD_KINDS];

#endif
