/*
 * The system calls that no thread of the process may make once its machine is set up, JavaScript's
 * and libuv's included. What Node needs is not known as exactly as what our own threads need, so
 * this table lists what is forbidden. Rows with conditions come first: see filter.h.
 */
#include "process_rules.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Namespaces; unshare(2) is forbidden altogether. */
#define CLONE_NEW                                                                                  \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

#define FORBID(name, why)                                                                          \
    {                                                                                              \
        SYS_##name, ALWAYS, SECCOMP_RET_TRAP, why                                                  \
    }
#define FORBID_IF(name, condition, why)                                                            \
    {                                                                                              \
        SYS_##name, condition, SECCOMP_RET_TRAP, why                                               \
    }
/* The caller can go on without it. */
#define FAIL(name, error, why)                                                                     \
    {                                                                                              \
        SYS_##name, ALWAYS, SECCOMP_RET_ERRNO | (error), why                                       \
    }
#define FAIL_IF(name, condition, error, why)                                                       \
    {                                                                                              \
        SYS_##name, condition, SECCOMP_RET_ERRNO | (error), why                                    \
    }

static const struct filter_row CONDITIONAL[] = {
    FORBID_IF(ioctl, EQUAL(1, TIOCSTI), "types into the terminal, for the user's shell to read"),
    FORBID_IF(ioctl, EQUAL(1, TIOCLINUX), "the same, by the selection of a console"),
    FORBID_IF(clone, LACKS(0, CLONE_THREAD), "another process"),
    FORBID_IF(clone, HAS(0, CLONE_NEW), "namespaces, to attack the kernel from"),
    FORBID_IF(socket, DIFFERS(0, AF_UNIX), "networks; passt and tap devices are open"),
    FORBID_IF(prlimit64, HAS(0, ~0u), "limits of another process"),
    FORBID_IF(utimensat, NOT_NULL(1), "times of a file by its path"),
    /* The rings of disks and tap devices are there, and take no other requests than theirs. */
    FAIL(io_uring_setup, EPERM, "a ring, whose requests no filter sees"),
    FAIL(clone3, ENOSYS, "its flags are in memory; the C library then uses clone()"),
};

static const struct filter_row FORBIDDEN[] = {
    /* Programs and processes. */
    FORBID(execve, "starts a program"),
    FORBID(execveat, "starts a program"),
    FORBID(fork, "another process"),
    FORBID(vfork, "another process"),
    FORBID(ptrace, "takes over another process"),
    FORBID(process_vm_readv, "reads another process's memory"),
    FORBID(process_vm_writev, "writes another process's memory"),
    FORBID(process_madvise, "another process's memory"),
    FORBID(process_mrelease, "another process's memory"),
    FORBID(kcmp, "compares other processes"),
    FORBID(pidfd_open, "a handle of another process"),
    FORBID(pidfd_getfd, "takes another process's files"),
    FORBID(pidfd_send_signal, "signals another process"),
    FORBID(tkill, "signals a thread of any process"),
    FORBID(rt_sigqueueinfo, "signals another process"),
    FORBID(rt_tgsigqueueinfo, "signals another process"),
    FORBID(migrate_pages, "another process's memory"),
    FORBID(move_pages, "another process's memory"),
    FORBID(setpriority, "priorities of other processes"),
    FORBID(ioprio_set, "priorities of other processes"),
    FORBID(sched_setscheduler, "priorities of other processes"),
    FORBID(sched_setattr, "priorities of other processes"),
    FORBID(sched_setaffinity, "processors of other processes"),
    FORBID(setns, "namespaces of other processes"),
    FORBID(unshare, "namespaces, to attack the kernel from"),
    /* Files by other ways than open(2), which Landlock and file permissions decide about. */
    FORBID(mount, "changes what files there are"),
    FORBID(umount2, "changes what files there are"),
    FORBID(pivot_root, "changes what files there are"),
    FORBID(chroot, "changes what files there are"),
    FORBID(open_tree, "changes what files there are"),
    FORBID(move_mount, "changes what files there are"),
    FORBID(fsopen, "mounts a file system"),
    FORBID(fsconfig, "mounts a file system"),
    FORBID(fsmount, "mounts a file system"),
    FORBID(fspick, "mounts a file system"),
    FORBID(mount_setattr, "changes what files there are"),
    FORBID(swapon, "changes what files there are"),
    FORBID(swapoff, "changes what files there are"),
    FORBID(quotactl, "quotas of file systems"),
    FORBID(name_to_handle_at, "files by their number"),
    FORBID(open_by_handle_at, "files by their number, past all folders"),
    FORBID(chmod, "rights of a file by its path; fchmod() has the file open"),
    FORBID(fchmodat, "rights of a file by its path"),
    FORBID(chown, "the owner of a file by its path"),
    FORBID(lchown, "the owner of a file by its path"),
    FORBID(fchownat, "the owner of a file by its path"),
    FORBID(setxattr, "attributes of a file by its path"),
    FORBID(lsetxattr, "attributes of a file by its path"),
    FORBID(removexattr, "attributes of a file by its path"),
    FORBID(lremovexattr, "attributes of a file by its path"),
    FORBID(utime, "times of a file by its path"),
    FORBID(utimes, "times of a file by its path"),
    FORBID(futimesat, "times of a file by its path"),
    FORBID(fanotify_init, "watches other processes' files"),
    /* The kernel itself. */
    FORBID(bpf, "code for the kernel"),
    FORBID(perf_event_open, "measures other processes"),
    FORBID(init_module, "code for the kernel"),
    FORBID(finit_module, "code for the kernel"),
    FORBID(delete_module, "code of the kernel"),
    FORBID(kexec_load, "another kernel"),
    FORBID(kexec_file_load, "another kernel"),
    FORBID(reboot, "the host"),
    FORBID(iopl, "ports of the host"),
    FORBID(ioperm, "ports of the host"),
    FORBID(modify_ldt, "segments, of use to attacks only"),
    FORBID(userfaultfd, "stops the kernel in the middle, of use to attacks"),
    FORBID(keyctl, "keys of the user"),
    FORBID(add_key, "keys of the user"),
    FORBID(request_key, "keys of the user"),
    FORBID(syslog, "messages of the kernel"),
    FORBID(acct, "accounting of the host"),
    FORBID(settimeofday, "the host's clock"),
    FORBID(clock_settime, "the host's clock"),
    FORBID(clock_adjtime, "the host's clock"),
    FORBID(adjtimex, "the host's clock"),
    FORBID(sethostname, "the host's name"),
    FORBID(setdomainname, "the host's name"),
    FORBID(vhangup, "terminals of others"),
    FORBID(personality, "old binary interfaces"),
    /* Other users. */
    FORBID(setuid, "another user"),
    FORBID(setgid, "another group"),
    FORBID(setreuid, "another user"),
    FORBID(setregid, "another group"),
    FORBID(setresuid, "another user"),
    FORBID(setresgid, "another group"),
    FORBID(setgroups, "other groups"),
    FORBID(setfsuid, "another user, for files"),
    FORBID(setfsgid, "another group, for files"),
    FORBID(capset, "other privileges"),
    /* System V and POSIX IPC: memory and messages that other processes share by a number or name.
     */
    FORBID(shmget, "memory of other processes"),
    FORBID(shmat, "memory of other processes"),
    FORBID(shmctl, "memory of other processes"),
    FORBID(semget, "semaphores of other processes"),
    FORBID(semctl, "semaphores of other processes"),
    FORBID(msgget, "messages of other processes"),
    FORBID(msgctl, "messages of other processes"),
    FORBID(msgsnd, "messages of other processes"),
    FORBID(msgrcv, "messages of other processes"),
    FORBID(mq_open, "messages of other processes"),
    FORBID(mq_unlink, "messages of other processes"),
};

#define TABLE(rows)                                                                                \
    {                                                                                              \
        rows, sizeof(rows) / sizeof((rows)[0])                                                     \
    }

void process_filter_make(struct process_filter *own, const struct sandbox_needs *needs)
{
    uint32_t pid = (uint32_t)getpid();
    struct filter_row rows[] = {
        FORBID_IF(tgkill, DIFFERS(0, pid), "signals another process"),
        /* Helpers that do not end by themselves are killed: Node reports the error. */
        FAIL_IF(kill, DIFFERS(0, pid), EPERM, "signals another process"),
        FORBID(connect, "other programs' sockets"),
    };
    size_t count = sizeof rows / sizeof *rows - (needs->connects ? 1 : 0);
    memcpy(own->own, rows, sizeof rows);
    own->filter = (struct filter){
        .tables = {TABLE(CONDITIONAL), {own->own, count}, TABLE(FORBIDDEN)},
        .otherwise = SECCOMP_RET_ALLOW,
    };
}
