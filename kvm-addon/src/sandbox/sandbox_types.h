#ifndef TSVM_SANDBOX_TYPES_H
#define TSVM_SANDBOX_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The kinds of threads that handle a guest's input. thread_rules.c says what each may do. */
enum sandbox_thread {
    SANDBOX_VCPU,  /* runs guest code and serves device registers */
    SANDBOX_QUEUE, /* serves virtqueues without any file or socket: entropy, script, vhost-user */
    SANDBOX_BLOCK, /* serves those of a disk */
    SANDBOX_NET,   /* serves those of a network */
    SANDBOX_VSOCK, /* serves those of a socket device */
    SANDBOX_THREAD_KINDS,
};

/* What may be done with a path and what is below it. */
enum sandbox_access {
    SANDBOX_READ,
    SANDBOX_WRITE,         /* read and write what there is */
    SANDBOX_TERMINAL,      /* the same, and ioctl(2) */
    SANDBOX_OWN,           /* the same as WRITE, and make and remove files, folders and sockets */
    SANDBOX_EMPTY_FOLDERS, /* remove empty folders */
    SANDBOX_CONNECT,       /* connect to sockets */
};

struct sandbox_path {
    const char *path;
    enum sandbox_access access;
};

/* What a process needs after its machine has been set up. */
struct sandbox_needs {
    /* Connect to sockets in the file system: the guest reaches listeners by virtio-vsock. */
    bool connects;
    /* Files to open; those that are open already need not be here. */
    const struct sandbox_path *paths;
    size_t path_count;
    /*
     * As root, where Landlock is: the user and group id to have from now on, no other process's. 0:
     * the user stays.
     */
    uint32_t user;
    /* That user may write the paths, and connect to sockets, whoever's they are. */
    bool writes;
};

/* What the kernel has granted. */
struct sandbox_report {
    bool files;      /* only the given paths can be opened (Landlock) */
    bool namespaces; /* own network and IPC namespaces */
    bool view;       /* only the given paths are there at all (a mount namespace) */
};

#endif
