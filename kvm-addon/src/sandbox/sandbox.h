/*
 * The sandbox: what is left to a guest that has taken over a thread of this process. README.md
 * explains the design.
 */
#ifndef TSVM_SANDBOX_H
#define TSVM_SANDBOX_H

/* The kinds of threads that handle a guest's input. thread_rules.c says what each may do. */
enum sandbox_thread {
    SANDBOX_VCPU,  /* runs guest code and serves device registers */
    SANDBOX_QUEUE, /* serves virtqueues without any file or socket: entropy, script, vhost-user */
    SANDBOX_BLOCK, /* serves those of a disk */
    SANDBOX_NET,   /* serves those of a network */
    SANDBOX_VSOCK, /* serves those of a socket device */
    SANDBOX_THREAD_KINDS,
};

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

#endif
