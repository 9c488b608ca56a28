#ifndef TSVM_SANDBOX_TYPES_H
#define TSVM_SANDBOX_TYPES_H

#include <stdbool.h>

/* The kinds of threads that handle a guest's input. thread_rules.c says what each may do. */
enum sandbox_thread {
    SANDBOX_VCPU,  /* runs guest code and serves device registers */
    SANDBOX_QUEUE, /* serves virtqueues without any file or socket: entropy, script, vhost-user */
    SANDBOX_BLOCK, /* serves those of a disk */
    SANDBOX_NET,   /* serves those of a network */
    SANDBOX_VSOCK, /* serves those of a socket device */
    SANDBOX_THREAD_KINDS,
};

/* What a process needs after its machine has been set up. */
struct sandbox_needs {
    /* Connect to sockets in the file system: the guest reaches listeners by virtio-vsock. */
    bool connects;
};

#endif
