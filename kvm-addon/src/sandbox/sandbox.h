/*
 * The sandbox: what is left to a guest that has taken over a thread of this process. README.md
 * explains the design.
 */
#ifndef TSVM_SANDBOX_H
#define TSVM_SANDBOX_H

#include "sandbox_types.h"

/* 0 when the kernel has seccomp filters as they are needed here, or -errno. */
int sandbox_probe_seccomp(void);

/*
 * From now on, threads of this process that call sandbox_enter_thread() are confined. Idempotent.
 * Returns 0 or -errno, e.g. -ENOSYS when the kernel has no seccomp filters.
 */
int sandbox_enable_threads(void);

/*
 * Confines the calling thread and those that it creates for good, if sandbox_enable_threads() was
 * called before. Ends the process when the kernel refuses, which it does not do once
 * sandbox_enable_threads() has succeeded.
 */
void sandbox_enter_thread(enum sandbox_thread kind);

/* For a thread that a confined one has created: its name in messages, which lives on. */
void sandbox_name_thread(const char *name);

/*
 * Confines the whole process for good, with sandbox_enable_threads(): call it when programs were
 * started and files opened, and before threads run that enter the sandbox. What the kernel lacks is
 * left out and missing in the report. Returns 0 or -errno: -EBUSY when a thread has already
 * entered.
 */
int sandbox_confine_process(const struct sandbox_needs *needs, struct sandbox_report *report);

#endif
