/*
 * The system calls of threads that handle a guest's input. Rows with conditions come first, the
 * most frequent one at the top: see filter.h.
 */
#include "thread_rules.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>

#define ALLOW(name, why)                                                                           \
    {                                                                                              \
        SYS_##name, ALWAYS, SECCOMP_RET_ALLOW, why                                                 \
    }
#define ALLOW_IF(name, condition, why)                                                             \
    {                                                                                              \
        SYS_##name, condition, SECCOMP_RET_ALLOW, why                                              \
    }
#define KVM(request, why)                                                                          \
    {                                                                                              \
        SYS_ioctl, EQUAL(1, request), SECCOMP_RET_ALLOW, why                                       \
    }
#define ABSENT(name, why)                                                                          \
    {                                                                                              \
        SYS_##name, ALWAYS, SECCOMP_RET_ERRNO | ENOSYS, why                                        \
    }

/* Every thread: the C library, and the report of a forbidden call. */
static const struct filter_row COMMON[] = {
    ALLOW_IF(mmap, LACKS(2, PROT_EXEC), "malloc; memory that contains code is made before"),
    ALLOW_IF(mprotect, LACKS(2, PROT_EXEC), "malloc, which extends an arena"),
    ALLOW_IF(ioctl, EQUAL(1, TCSETS), "the report of a forbidden call restores the terminal"),
    ALLOW_IF(ioctl, EQUAL(1, TCGETS), "tcsetattr() looks what has become of it"),
    ALLOW_IF(ioctl, EQUAL(1, TIOCGPGRP), "and asks first whether the terminal is this process's"),
    ALLOW(futex, "mutexes, condition variables, and the end of threads that are waited for"),
    ALLOW(write, "eventfds: interrupts, kicks, wake-ups of JavaScript; the report"),
    ALLOW(read, "eventfds and timerfds"),
    ALLOW(clock_gettime, "time, on hosts whose clock needs a system call"),
    ALLOW(munmap, "free; the stack, when the thread ends"),
    ALLOW(mremap, "realloc"),
    ALLOW(brk, "malloc in the main arena"),
    ALLOW(madvise, "free, and the stack of a thread that ends"),
    ALLOW(sched_yield, "waiting for another thread for a moment"),
    ALLOW(nanosleep, "the same"),
    ALLOW(clock_nanosleep, "the same; nanosleep() of the C library"),
    ALLOW(restart_syscall, "the kernel goes on with a sleep after a stop (Ctrl-Z)"),
    ALLOW(rt_sigprocmask, "the end of a thread; the report"),
    ALLOW(rt_sigreturn, "the end of a signal handler"),
    ALLOW(rseq, "the end of a thread"),
    ALLOW(gettid, "pthread_kill() to itself"),
    ALLOW(getpid, "pthread_kill()"),
    ALLOW(getpgrp, "the report: whether the terminal is this process's"),
    ALLOW(pwritev2, "the report; writes of a disk's thread pool"),
    ALLOW(exit, "the end of a thread"),
    ALLOW(exit_group, "the end of the report"),
#ifdef __SANITIZE_ADDRESS__
    ALLOW(sigaltstack, "AddressSanitizer, of tests, where a function does not return"),
    ALLOW(sched_getaffinity, "the same, where a thread starts"),
#endif
};

static const struct filter_row VCPU[] = {
    KVM(KVM_RUN, "runs the guest"),
    KVM(KVM_GET_REGS, "engine and emulator: registers"),
    KVM(KVM_SET_REGS, "the same"),
    KVM(KVM_GET_SREGS, "the same"),
    KVM(KVM_SET_SREGS, "the same"),
    KVM(KVM_GET_XSAVE, "the same, of the FPU"),
    KVM(KVM_SET_XSAVE, "the same"),
    KVM(KVM_GET_XCRS, "the same"),
    KVM(KVM_SET_XCRS, "the same"),
    KVM(KVM_GET_DEBUGREGS, "the same, of breakpoints"),
    KVM(KVM_SET_DEBUGREGS, "the same"),
    KVM(KVM_SET_GUEST_DEBUG, "engine: single steps"),
    KVM(KVM_GET_MSRS, "the guest's MSRs that KVM has"),
    KVM(KVM_SET_MSRS, "the same"),
    KVM(KVM_GET_VCPU_EVENTS, "exceptions and interrupts that are pending"),
    KVM(KVM_SET_VCPU_EVENTS, "the same"),
    KVM(KVM_GET_MP_STATE, "engine: a vCPU that halts or waits for its start"),
    KVM(KVM_SET_MP_STATE, "the same"),
    KVM(KVM_GET_LAPIC, "engine: the local APIC, which KVM has"),
    KVM(KVM_SET_LAPIC, "the same"),
    KVM(KVM_GET_TSC_KHZ, "engine: the guest's timer"),
    KVM(KVM_GET_SUPPORTED_CPUID, "engine: the processor's features"),
    KVM(KVM_SET_CPUID2, "engine: features that depend on the guest's registers"),
    KVM(KVM_IRQ_LINE, "engine: interrupts of devices reach an interpreted vCPU at once"),
    KVM(KVM_SET_USER_MEMORY_REGION, "engine: KVM forgets its shadows of tables"),
    ALLOW(tgkill, "pthread_kill() takes another vCPU out of the guest"),
    ALLOW(preadv2, "a driver kicks while a disk's worker sleeps: what the page cache has"),
    ALLOW(timerfd_create, "the same: the disk's rate limit has a timer"),
    ALLOW(timerfd_settime, "the same"),
    ALLOW(epoll_ctl, "the same: the worker's event loop waits for it"),
};

/* Every queue worker. */
static const struct filter_row QUEUE[] = {
    KVM(KVM_IRQ_LINE, "engine: interrupts reach an interpreted vCPU at once"),
    ALLOW(tgkill, "and interrupt it by pthread_kill()"),
    ALLOW(epoll_wait, "the event loop"),
    ALLOW(epoll_ctl, "the event loop: descriptors come and go"),
    ALLOW(timerfd_create, "the event loop: its clock"),
    ALLOW(timerfd_settime, "rate limits and time-outs"),
    ALLOW(getrandom, "entropy"),
    ALLOW(close, "what belongs to a worker that ends"),
};

static const struct filter_row BLOCK[] = {
    ALLOW_IF(io_uring_register, EQUAL(1, IORING_REGISTER_ENABLE_RINGS), "the ring's thread"),
    ALLOW_IF(io_uring_register, EQUAL(1, IORING_REGISTER_RING_FDS), "faster calls"),
    ALLOW_IF(io_uring_register, EQUAL(1, IORING_UNREGISTER_RING_FDS), "the ring's end"),
    ALLOW_IF(clone, HAS(0, CLONE_THREAD), "the thread pool, where there is no io_uring"),
    ABSENT(clone3, "the C library then uses clone()"),
    ALLOW(set_robust_list, "a new thread of the pool"),
    ALLOW(io_uring_enter, "requests; a ring takes no others than io_engine_uring.c lists"),
    ALLOW(preadv2, "what the page cache has; reads of the thread pool"),
    ALLOW(preadv, "preadv2() without flags"),
    ALLOW(pwritev, "a lone write; pwritev2() without flags"),
    ALLOW(fdatasync, "flush"),
    ALLOW(fallocate, "discard and write-zeroes"),
};

static const struct filter_row NET[] = {
    ALLOW(readv, "a frame from a tap device"),
    ALLOW(writev, "a frame to a tap device"),
    ALLOW(io_uring_enter, "several of them; the ring takes no other requests, see tap_ring.c"),
    ALLOW(recvfrom, "frames from passt"),
    ALLOW(sendmsg, "frames to passt"),
};

static const struct filter_row VSOCK[] = {
    ALLOW_IF(socket, EQUAL(0, AF_UNIX), "a connection of the guest to a listener on the host"),
    ALLOW(connect, "the same"),
    ALLOW_IF(socketpair, EQUAL(0, AF_UNIX), "a connection of the guest to a port of this process"),
    ALLOW_IF(setsockopt, EQUAL(2, SO_SNDBUF), "the same: how much the host may leave unread"),
    ALLOW_IF(setsockopt, EQUAL(2, SO_LINGER), "clients of published ports see a reset"),
    ALLOW(accept4, "connections of host programs"),
    ALLOW(recvfrom, "the greeting of a connection"),
    ALLOW(sendto, "its answer"),
    ALLOW(recvmsg, "data of a connection"),
    ALLOW(sendmsg, "the same"),
    ALLOW(shutdown, "one direction of a connection ends"),
};

#define TABLE(rows)                                                                                \
    {                                                                                              \
        rows, sizeof(rows) / sizeof((rows)[0])                                                     \
    }

const struct filter THREAD_FILTERS[SANDBOX_THREAD_KINDS] = {
    [SANDBOX_VCPU] = {{TABLE(VCPU), TABLE(COMMON)}, SECCOMP_RET_TRAP},
    [SANDBOX_QUEUE] = {{TABLE(QUEUE), TABLE(COMMON)}, SECCOMP_RET_TRAP},
    [SANDBOX_BLOCK] = {{TABLE(BLOCK), TABLE(QUEUE), TABLE(COMMON)}, SECCOMP_RET_TRAP},
    [SANDBOX_NET] = {{TABLE(NET), TABLE(QUEUE), TABLE(COMMON)}, SECCOMP_RET_TRAP},
    [SANDBOX_VSOCK] = {{TABLE(VSOCK), TABLE(QUEUE), TABLE(COMMON)}, SECCOMP_RET_TRAP},
};

const char *const THREAD_NAMES[SANDBOX_THREAD_KINDS] = {
    [SANDBOX_VCPU] = "a vCPU thread",
    [SANDBOX_QUEUE] = "a queue worker",
    [SANDBOX_BLOCK] = "a disk's queue worker",
    [SANDBOX_NET] = "a network's queue worker",
    [SANDBOX_VSOCK] = "a socket device's queue worker",
};
